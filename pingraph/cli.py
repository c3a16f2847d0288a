"""The `pingraph` command. Nothing heavy is imported before a subcommand needs it."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docstring_parser import parse as parse_docstring

from pingraph import commands
from pingraph.errors import PinGraphError
from pingraph.parsing import ShortErrors
from pingraph.world import World


def main(args: list[str] | None = None) -> None:
    """Run a subcommand; what the user can put right is printed, and exits with 2."""
    args = sys.argv[1:] if args is None else args
    # Threads that spin while they wait for each other stall training many times over as soon as
    # another process, such as a data-loader worker, needs one of few cores. Read by OpenMP when
    # torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        if args[:1] == ["fit"]:
            _fit(args[1:])
        else:
            _run(args)
    except PinGraphError as error:
        sys.exit(_failed(f"error: {error}", 2))
    except KeyboardInterrupt:
        sys.exit(_failed("interrupted", 130))
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough.
        sys.stderr.close()


def _failed(message: str, status: int) -> int:
    sys.stderr.write(message + "\n")
    return status


def _run(args: list[str]) -> None:
    parser, functions = _parser()
    config = parser.parse_args(args)
    given = config[config.command].as_dict()
    functions[config.command](**given)


def _fit(args: list[str]) -> None:
    from pingraph.fit import fit

    print(fit(args))


def _parser() -> tuple[ShortErrors, dict[str, Callable[..., None]]]:
    version = importlib.metadata.version("pingraph")
    parser = ShortErrors(
        prog="pingraph",
        description="Pin embeddings from images, text and the boards people save pins to.",
        version=version,
    )
    functions: dict[str, Callable[..., None]] = {
        "demo": commands.demo,
        "inspect": commands.inspect,
        "evaluate": commands.evaluate,
        "embed": commands.embed,
        "neighbors": commands.neighbors,
        "make-icons": commands.icons,
        "make-world": make_world,
    }
    subcommands = parser.add_subcommands(dest="command", metavar="COMMAND")
    # Listed here for --help; its arguments are Lightning's, see pingraph.fit.
    subcommands.add_subcommand("fit", ShortErrors(), help="Train a model on a data set.")
    for name, function in functions.items():
        summary = parse_docstring(function.__doc__ or "").short_description
        subparser = _subparser(function)
        subcommands.add_subcommand(name, subparser, help=summary)
        subparser.prog = f"pingraph {name}"
    return parser, functions


def make_world(out: Path, world: World) -> None:
    """Write a synthetic data set with known truth as a folder.

    Args:
        out: the new folder.
        world: its knobs.
    """
    world.write(out)
    print(out)


def _subparser(function: Callable[..., None]) -> ShortErrors:
    docs = parse_docstring(function.__doc__ or "")
    text = "\n\n".join(filter(None, (docs.short_description, docs.long_description)))
    parser = ShortErrors(description=text)
    special = {"out", "pin_id", "world"}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=special)
    helps = {param.arg_name: param.description for param in docs.params}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if name == "pin_id":
            parser.add_argument(name, nargs="?", type=str, help=helps[name])
        elif name == "out":
            parser.add_argument("-o", "--out", help=helps[name], **_typed(parameter))
        elif name == "world":
            parser.add_class_arguments(World, name)
    return parser


def _typed(parameter: inspect.Parameter) -> dict[str, Any]:
    required = parameter.default is parameter.empty
    return {
        "type": parameter.annotation,
        "required": required,
        **({} if required else {"default": parameter.default}),
    }
