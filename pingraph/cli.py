"""The `pingraph` command. Nothing heavy is imported before a subcommand needs it."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docstring_parser import parse as parse_docstring

from pingraph import commands
from pingraph.errors import PinGraphError
from pingraph.parsing import ShortErrors

COMMANDS: dict[str, Callable[..., None]] = {
    "fit": commands.fit,
    "demo": commands.demo,
    "inspect": commands.inspect,
    "evaluate": commands.evaluate,
    "embed": commands.embed,
    "neighbors": commands.neighbors,
    "explain": commands.explain,
    "report": commands.report,
    "export": commands.export,
    "explore": commands.explore,
    "sample": commands.sample,
    "experiment": commands.experiment,
    "make-icons": commands.make_icons,
    "make-world": commands.make_world,
}


def main(args: list[str] | None = None) -> None:
    """Run a subcommand; what the user can put right is printed, and exits with 2."""
    args = sys.argv[1:] if args is None else args
    # Threads that spin while they wait for each other stall training many times over as soon as
    # another process, such as a data-loader worker, needs one of few cores. Read by OpenMP when
    # torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        try:
            _run(args)
        finally:
            sys.stdout.flush()
    except PinGraphError as error:
        sys.exit(_failed(f"error: {error}", 2))
    except KeyboardInterrupt as interrupt:
        sys.exit(_failed(str(interrupt) or "interrupted", 130))
    except OSError as error:
        # What is left in the buffer goes nowhere, lest it fails again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
            sys.exit(141)
        sys.exit(_failed(f"error: {error}", 2))


def _failed(message: str, status: int) -> int:
    sys.stderr.write(message + "\n")
    return status


def _run(args: list[str]) -> None:
    if args[:1] == ["fit"]:
        commands.fit(args[1:])
        return
    chosen = args[0] if args else ""
    if chosen == "sample":
        from pingraph.lab.choice import spell_out

        args = spell_out(args)
    parser = _parser(chosen)
    config = parser.instantiate_classes(parser.parse_args(args))
    COMMANDS[chosen](**config[chosen].as_dict())


def _parser(chosen: str) -> ShortErrors:
    """Return the parser; of the subcommands only the chosen one knows its arguments."""
    parser = ShortErrors(
        prog="pingraph",
        description="Pin embeddings from images, text and the boards people save pins to.",
        version=importlib.metadata.version("pingraph"),
    )
    subcommands = parser.add_subcommands(dest="command", metavar="COMMAND")
    for name, function in COMMANDS.items():
        docs = parse_docstring(function.__doc__ or "")
        subparser = _subparser(function) if name == chosen else ShortErrors()
        subcommands.add_subcommand(name, subparser, help=docs.short_description)
        subparser.prog = f"pingraph {name}"
    return parser


def _subparser(function: Callable[..., None]) -> ShortErrors:
    docs = parse_docstring(function.__doc__ or "")
    text = "\n\n".join(filter(None, (docs.short_description, docs.long_description)))
    parser = ShortErrors(description=text)
    parameters = inspect.signature(function).parameters
    lists = {name: _LISTS[p.annotation] for name, p in parameters.items() if p.annotation in _LISTS}
    special: set[str | int] = {"out", "pin_id", "runs", *_FLAGS, *lists}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=special)
    helps = {param.arg_name: param.description for param in docs.params}
    for name, parameter in parameters.items():
        if name == "pin_id":
            parser.add_argument(name, nargs="?", type=str, help=helps[name])
        elif name == "runs":
            parser.add_argument(name, nargs="+", type=Path, metavar="RUN", help=helps[name])
        elif name in lists:
            parser.add_argument(f"--{name}", nargs="+", type=lists[name], help=helps[name])
        elif name in _FLAGS:
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, action="store_true", help=helps[name])
        elif name == "out":
            parser.add_argument("-o", "--out", help=helps[name], **_typed(parameter))
    return parser


_FLAGS = ("dry_run", "walks")
_LISTS: dict[Any, type] = {list[str] | None: str, list[int] | None: int}


def _typed(parameter: inspect.Parameter) -> dict[str, Any]:
    required = parameter.default is parameter.empty
    return {
        "type": parameter.annotation,
        "required": required,
        **({} if required else {"default": parameter.default}),
    }
