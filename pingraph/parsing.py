"""Command lines from signatures: help in plain words, and errors that fit a screen."""

from __future__ import annotations

import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
from docstring_parser import parse as parse_docstring

from pingraph.errors import PinGraphError
from pingraph.mistakes import explain
from pingraph.yaml_files import read_yaml


class PlainHelp(jsonargparse.DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Help that leaves the lines of a description as they were written."""


class ShortErrors(jsonargparse.ArgumentParser):
    """A parser that answers a mistake with the mistake alone, and exits with 2."""

    def __init__(self, *args: Any, **kwargs: Any):
        # An option cut short is a mistake to be told of, not a guess to be trained with.
        defaults = {"allow_abbrev": False, "formatter_class": PlainHelp}
        super().__init__(*args, **{**defaults, **kwargs})
        self.reading = False  # of a configuration file
        self.files: list[tuple[str, Any]] = []  # that were read, and what they hold

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """Return the help without what only Python's types are made of."""
        text = re.sub(r"<class\s+'(?:\w+\.)*(\w+)'>", r"\1", super().format_help(*args, **kwargs))
        text = re.sub(r"(?:\s\|\s+null)?,\s+default:\s+null\)", ")", text)
        # Of torch modules alone there are hundreds.
        return re.sub(r",\s+known\s+subclasses:[^)]*,[^)]*\)", ")", text)

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Read a configuration file, whose mistakes as YAML jsonargparse would not place."""
        held = None
        try:
            if Path(path).is_file():  # a pipe can be read but once
                held = read_yaml(path)
        except PinGraphError as error:
            self.error(str(error), error)
        self.files.append((str(path), held))
        self.reading = True
        try:
            return super().parse_path(path, *args, **kwargs)
        finally:
            self.reading = False

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong, the nearest known name where one is unknown, and where help is.

        Raises:
            ArgumentError: instead, in a parser of a part, whose whole knows where the part stands.
        """
        if not self.exit_on_error:
            raise jsonargparse.ArgumentError(None, message) from ex
        parser: Any = getattr(ex, "subcommand_parser", None) or self
        if parser._subcommands_action:
            known: dict[Any, Any] = parser._subcommands_action._name_parser_map
            missing = re.match(r"the following arguments are required: (\S+?)\.", message)
            only = next(iter(known)) if len(known) == 1 else None
            parser = known.get(missing[1] if missing else only, parser)
        told = [message] if isinstance(ex, PinGraphError) else explain(message, parser)
        files = [self.files[-1][0]] if self.reading else []
        # Keys that no class or group knows are looked at when all files are read.
        if unknown := re.fullmatch("unknown option '([^']*)'", told[0]):
            holders = [one for one, held in parser.files if held is None or _has(held, unknown[1])]
            files = holders or files
        if files:
            told[0] = f"{', '.join(files)}: {told[0]}"
        lines = [*told, f"try '{parser.prog.replace(' [options]', '')} --help'"]
        sys.stderr.write("error: " + "\n".join(lines) + "\n")
        sys.exit(2)


def run_module(function: Callable[..., None], module: str, args: list[str] | None) -> None:
    """Run a function as the command line of `python -m MODULE`, its docstring as the help.

    What the user can put right is printed and exits with 2, an interrupt with 130.
    """
    about = parse_docstring(function.__doc__ or "")
    parser = ShortErrors(
        prog=f"python -m {module}",
        description=f"{about.short_description}\n\n{about.long_description}",
    )
    parser.add_function_arguments(function, as_group=False, as_positional=True)
    try:
        function(**parser.parse_args(args).as_dict())
    except PinGraphError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


def _has(held: Any, key: str) -> bool:
    """Return whether a file has a dotted key; keys of the file may be dotted, too."""
    return isinstance(held, dict) and any(
        name == key or (key.startswith(f"{name}.") and _has(value, key[len(name) + 1 :]))
        for name, value in ((str(name), value) for name, value in held.items())
    )
