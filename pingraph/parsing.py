"""Command lines from signatures: errors that fit a screen and know what was meant."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from typing import NoReturn

import jsonargparse

_UNKNOWN = (
    r"Option '(?P<key>[^']+)' is not accepted",
    r"does not accept option '(?P<key>[^']+)'",
    r"unrecognized arguments: --?(?P<key>[^\s=]+)",
    r"invalid choice: '(?P<key>[^']+)'",
)


class ShortErrors(jsonargparse.ArgumentParser):
    """A parser that answers a mistake with the mistake alone, and exits with 2."""

    def format_help(self) -> str:
        """Return the help, with the names of types where Python prints their representation."""
        return re.sub(r"<class\s+'(?:\w+\.)*(\w+)'>", r"\1", super().format_help())

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong, the nearest known name where one is unknown, and where help is."""
        parser = getattr(ex, "subcommand_parser", None) or self
        message = re.sub(r"\s*Given value( type)?:.*", "", message, flags=re.DOTALL)
        lines = [f"error: {message.strip()}", *_suggestion(message, parser)]
        lines.append(f"try '{parser.prog.replace(' [options]', '')} --help'")
        sys.stderr.write("\n".join(lines) + "\n")
        sys.exit(2)


def _suggestion(message: str, parser: jsonargparse.ArgumentParser) -> list[str]:
    found = next((m for pattern in _UNKNOWN if (m := re.search(pattern, message))), None)
    if found is None:
        return []
    known = {name for action in parser._actions for name in (action.dest, *(action.choices or ()))}
    for path in re.findall(r"class_path '([\w.]+)'", message):
        known |= _arguments(path)
    key = found["key"]
    # A key of a YAML file may be unknown in its first part alone: dta.folder for data.folder.
    nearest = difflib.get_close_matches(key, [name for name in known if name], n=1, cutoff=0.6)
    return [f"did you mean '{nearest[0]}'?"] if nearest else []


def _arguments(class_path: str) -> set[str]:
    module, _, name = class_path.rpartition(".")
    try:
        return set(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
    except (ImportError, AttributeError, TypeError, ValueError):
        return set()
