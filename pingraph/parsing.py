"""Command lines from signatures: errors that fit a screen and know what was meant."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable
from typing import Any, NoReturn

import jsonargparse

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "NoneType": "null",
}
_UNKNOWN = (
    r"(?:Option|does not accept option|unrecognized arguments:) '?(?P<key>-*[^\s='-][^\s=']*)"
)
_WRONG_TYPE = r"- Expected an? (.+)|Expected an? (.+)\. Got value: "
_VALUE = r"(?:Got|Given) value: (?P<value>.*)"
_BAD_CLASS = (
    r"class_path '(?P<path>[^']+)':\s*(?P<reason>(?:module|No module) .*)",
    r"Import path (?P<path>\S+) (?P<reason>does not .*)",
    r"Expected a dot import path string: (?P<path>\S+)",
    r"Not a valid subclass of \w+\. Got value: (?P<path>\S+)",
)


class PlainHelp(jsonargparse.DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Help that leaves the lines of a description as they were written."""


class ShortErrors(jsonargparse.ArgumentParser):
    """A parser that answers a mistake with the mistake alone, and exits with 2."""

    def __init__(self, *args: Any, **kwargs: Any):
        # An option cut short is a mistake to be told of, not a guess to be trained with.
        defaults = {"allow_abbrev": False, "formatter_class": PlainHelp}
        super().__init__(*args, **{**defaults, **kwargs})

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """Return the help without what only Python's types are made of."""
        text = re.sub(r"<class\s+'(?:\w+\.)*(\w+)'>", r"\1", super().format_help(*args, **kwargs))
        text = re.sub(r"(?:\s\|\s+null)?,\s+default:\s+null\)", ")", text)
        # Of torch modules alone there are hundreds.
        return re.sub(r",\s+known\s+subclasses:[^)]*,[^)]*\)", ")", text)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong, the nearest known name where one is unknown, and where help is.

        Raises:
            ArgumentError: instead, in a parser of a part, whose whole knows where the part stands.
        """
        if not self.exit_on_error:
            raise jsonargparse.ArgumentError(None, message) from ex
        parser = getattr(ex, "subcommand_parser", None) or self
        missing = re.match(r"the following arguments are required: (\S+?)\.", message)
        if missing and parser._subcommands_action:
            parser = parser._subcommands_action._name_parser_map[missing[1]]
        lines = [*explain(message, parser), f"try '{parser.prog.replace(' [options]', '')} --help'"]
        sys.stderr.write("error: " + "\n".join(lines) + "\n")
        sys.exit(2)


def explain(message: str, parser: jsonargparse.ArgumentParser) -> list[str]:
    """Say in a line what jsonargparse found wrong, and in another what may have been meant.

    Args:
        message: jsonargparse's, in which the keys, the classes and the reason are nested.
        parser: whose options they are.
    """
    place = ".".join(re.findall(r'Parser key "([^"]+)":', message))
    if found := re.search(_UNKNOWN, message):
        return _unknown_option(message, place, found["key"], parser)
    if found := re.search(r"invalid choice: '([^']*)'", message):
        return [f"there is no command {found[1]!r}", *_meant(found[1], _names(parser))]
    if 'expected "command" to be one of' in message:
        return [f"no command given; there are {', '.join(_names(parser))}"]
    if message.startswith("Unexpected config:"):
        return ["the configuration file holds no keys with values"]
    if message.startswith("the following arguments are required"):
        return [_missing(message, parser)]
    if kinds := re.findall(_WRONG_TYPE, message):
        value = re.search(_VALUE, message)
        expected = " or ".join(dict.fromkeys(_kind(a or b) for a, b in kinds))
        if value and "dot import path" not in message:
            return [f"{place} is {value['value']!r}: expected {expected}"]
    if found := next(filter(None, (re.search(rule, message) for rule in _BAD_CLASS)), None):
        return _bad_class(place, found["path"], found.groupdict().get("reason"), parser)
    reason = re.sub(r'\s*Parser key "[^"]+":\s*|"<unicode string>", ', "", message).strip()
    reason = re.sub(r"Call to compute_fn of link .* failed: ", "", reason)
    return [f"{place}: {reason}" if place else reason]


def _unknown_option(
    message: str, place: str, key: str, parser: jsonargparse.ArgumentParser
) -> list[str]:
    if key.startswith("-"):
        return [f"unknown option {key}", *_meant(key, (f"--{name}" for name in _names(parser)))]
    if message.startswith("unrecognized"):
        config = [f"did you mean --config {key}?"] if key.endswith((".yaml", ".yml")) else []
        return [f"unexpected argument {key!r}", *config]
    if group := re.match(r"Group '([^']+)' does not", message):
        key = f"{group[1]}.{key}"
    classes = re.findall(r"class_path '([\w.]+)'", message)
    if not classes:
        return [f"unknown option {key!r}", *_meant(key, _names(parser))]
    known = [f"{place}.{name}" for name in _arguments(classes[-1])]
    key = f"{place}.{key}"
    return [f"unknown option {key!r} of {classes[-1]}", *_meant(key, known)]


def _missing(message: str, parser: jsonargparse.ArgumentParser) -> str:
    options = {a.dest: max(a.option_strings, key=len, default=a.dest) for a in parser._actions}
    names = message.partition(": ")[2].split(", ")
    if not set(names) & options.keys():  # the subcommand's name stands before them
        names = [name.partition(".")[2] for name in names]
    return "missing: " + ", ".join(options.get(name, name) for name in names)


def _kind(name: str) -> str:
    if choices := re.fullmatch(r"typing\.Literal\[(.*)\]", name):
        return choices[1].replace("'", "").replace(", ", " or ")
    named = re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>", name)
    return _KINDS.get(named[1], named[1]) if named else name


def _meant(key: str, names: Iterable[str]) -> list[str]:
    """The line that names what is most like an unknown name, if anything is."""
    others = (name for name in names if name != key)
    best = max(others, key=lambda name: _likeness(key, name), default="")
    return [f"did you mean {best}?"] if best and _likeness(key, best) >= 0.6 else []


def _likeness(one: str, other: str) -> float:
    """From 0 to 1; the last part of a dotted name counts nearly as much as the whole."""
    end, other_end = (name.rpartition(".")[2].lstrip("-") for name in (one, other))
    whole = difflib.SequenceMatcher(None, one, other).ratio()
    ends = difflib.SequenceMatcher(None, end, other_end).ratio()
    return max(whole, 0.9 * ends, 0.7 * (end in other_end.split("_")))


def _names(parser: jsonargparse.ArgumentParser) -> list[str]:
    if parser._subcommands_action:
        return list(parser._subcommands_action.choices)
    names = (max(action.option_strings, key=len, default="") for action in parser._actions)
    return [name[2:] for name in names if name.startswith("--")]


def _arguments(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    try:
        signature = inspect.signature(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, TypeError, ValueError):
        return ["class_path", "init_args"]
    return [*signature.parameters, "class_path", "init_args"]


def _bad_class(
    place: str, path: str, reason: str | None, parser: jsonargparse.ArgumentParser
) -> list[str]:
    action = next((action for action in parser._actions if action.dest == place), None)
    if reason and reason.startswith("does not implement protocol"):
        way = "its methods need these parameters, with these types:"
        methods = _signatures(getattr(action, "_typehint", object))
        return [f"{place} is {path!r}, which {reason}: {way}", *methods]
    read = getattr(action and action.default, "get", None)
    known = read("class_path", "") if read else ""
    example = f", such as {known}" if known else ""
    line = f"{place} is {path!r}: {reason or f'expected a class path{example}'}"
    return [line, *_meant(path, [*_classes_beside(path), *_classes_beside(known)])]


def _classes_beside(class_path: str) -> list[str]:
    module, _, _ = class_path.rpartition(".")
    try:
        members = vars(importlib.import_module(module))
    except (ImportError, ValueError):
        return []
    return [f"{module}.{name}" for name, value in members.items() if inspect.isclass(value)]


def _signatures(protocol: type) -> list[str]:
    methods = [one for one in vars(protocol).values() if inspect.isfunction(one)]
    named = [one for one in methods if not one.__name__.startswith("_")]
    return [f"  {one.__name__}{inspect.signature(one)}".replace("'", "") for one in named]
