"""What jsonargparse found wrong, in plain words, with what may have been meant."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin

import jsonargparse

from pingraph.errors import PinGraphError

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "NoneType": "null",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys with values",
}
_UNKNOWN = (
    r"(?:Option|does not accept option|unrecognized arguments:) '?(?P<key>-*[^\s='-][^\s=']*)"
)
_WRONG_TYPE = r"- Expected an? (.+?)(?:\. Got value: .*)?$|Expected an? (.+)\. Got value: "
_VALUE = r"(?:Got|Given) value: (?P<value>.*)"
_NESTED = r"NestedArg\(key='([^']*)', val='(.*)'\)"
_MISSING = r"the following arguments are required: (.+)"
_BAD_CLASS = (
    r"class_path '(?P<path>[^']+)':\s*(?P<reason>(?:module|No module|cannot import) .*)",
    r"Import path (?:(?P<path>\S+) )?(?P<reason>does not .*)",
    r"Expected a dot import path string: (?P<path>\S+)",
    r"Not a valid subclass of \w+\. Got value: (?P<path>\S+)",
)


_BAD_FUNCTION = (
    r"expects a function or a callable class: (.*)|Callable(?s:.*)Expected a dot import path"
)


def explain(message: str, parser: jsonargparse.ArgumentParser) -> list[str]:
    """Say in a line what jsonargparse found wrong, and in another what may have been meant.

    Args:
        message: jsonargparse's, in which the keys, the classes and the reason are nested.
        parser: whose options they are.
    """
    message = _without_what_else_was_tried(message)
    place = ".".join(re.findall(r'^\s*Parser key "([^"]+)":', message, re.MULTILINE))
    if found := re.search(_UNKNOWN, message):
        return _unknown_option(message, place, found["key"], parser)
    if found := re.search(r"invalid choice: '([^']*)'", message):
        return [f"there is no command {found[1]!r}", *_meant(found[1], _names(parser))]
    if 'expected "command" to be one of' in message:
        return [f"no command given; there are {', '.join(_names(parser))}"]
    if message.startswith("Unexpected config:"):
        return ["the configuration file holds no keys with values"]
    if found := re.search(_MISSING, message):
        return [_missing(found[1].split(", "), place, parser)]
    if found := re.search(r"Config file loop detected: (.+?) -> ", message):
        reason = "the file holds no class_path whose class has all of its init_args"
        return [f"{place} is {found[1]!r}: {reason}"]
    if "instantiatable class, but" in message:
        return [f"{place}: choose a class before its options"]
    if found := re.search(_BAD_FUNCTION, message):
        return [_bad_function(message, place, found[1])]
    if found := next(filter(None, (re.search(rule, message) for rule in _BAD_CLASS)), None):
        return _bad_class(message, place, found.groupdict(), parser)
    if kinds := re.findall(_WRONG_TYPE, message, re.MULTILINE):
        return _wrong_type(message, place, kinds)
    if found := re.search(r"Unable to load config '(.*)'", message):
        return [f"{place} is {found[1]!r}: expected keys with values"]
    reason = re.sub(r'\s*Parser key "[^"]+":\s*|"<unicode string>", ', "", message).strip()
    reason = re.sub(r"Call to compute_fn of link .* failed: ", "", reason)
    return [f"{place}: {reason}" if place else reason]


def dropped_option(args: Sequence[str], config: jsonargparse.Namespace) -> str | None:
    """Say which option was typed before a class was chosen that lacks it; None where none was.

    jsonargparse leaves it out without a word.

    Args:
        args: as typed.
        config: what was made of them.
    """
    for typed in args:
        key = typed.partition("=")[0].rstrip("+")
        if key.startswith("--") and (lacking := _lacks(config, key[2:].split("."))):
            return f"{key} is no option of {lacking}, which was chosen after it"
    return None


def _lacks(config: Any, names: list[str]) -> str | None:
    """Return the class in whose options a dotted name ends; None where it leads to a value."""
    for name in names:
        if not isinstance(config, jsonargparse.Namespace):
            return None  # a list or mapping: its keys may be named otherwise
        if name == "init_args":
            continue
        if name == "dict_kwargs":
            return None  # those that are known become options
        options = config.get("init_args", jsonargparse.Namespace())
        if name not in config and name not in options:
            return config.get("class_path")
        config = config[name] if name in config else options[name]
    return None


def own_error(error: BaseException) -> PinGraphError | None:
    """Return the error of ours that led to another one, or None if none did.

    Where an option takes values of several types, jsonargparse puts its own around it.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, PinGraphError):
        found = found.__cause__ or found.__context__
    return found


def _without_what_else_was_tried(message: str) -> str:
    # Any value might be the path of a configuration file.
    message = re.sub(r"\n\s*- Expected a path but .* either not .*", "", message)
    # Where an option takes several types, the one that was chosen by its class is meant.
    for chosen in re.finditer(r"^(\s*)- Problem with given class_path", message, re.MULTILINE):
        message = re.sub(rf"\n{chosen[1]}- Expected .*", "", message)
    return message


def _wrong_type(message: str, place: str, kinds: list[tuple[str, str]]) -> list[str]:
    found = re.search(_VALUE, message)
    value = found["value"] if found else ""
    if nested := re.search(_NESTED, message):
        value = nested[2]
        place = place if place.endswith(nested[1]) else f"{place}.{nested[1]}"
    expected = list(dict.fromkeys(_kind(a or b) for a, b in kinds))
    one = "a list" in expected and re.fullmatch(r"\{.*\}|(?:\w+\.)+[A-Z]\w*", value)
    return [
        f"{place} is {value!r}: expected {' or '.join(expected)}",
        *([f"did you mean --{place}+ {value}?"] if one else []),
    ]


def _unknown_option(
    message: str, place: str, key: str, parser: jsonargparse.ArgumentParser
) -> list[str]:
    if key.startswith("-"):
        if place:  # of a class that was chosen there
            return [f"unknown option --{place}.{key.removeprefix('--')}"]
        names = [f"--{name}" for name in _names(parser)]
        return [f"unknown option {key}", *(_meant(key, names) or _inside(key, names))]
    if message.startswith("unrecognized"):
        config = [f"did you mean --config {key}?"] if key.endswith((".yaml", ".yml")) else []
        # argparse takes one that may be missing for missing, as soon as an option comes before it.
        late = any(not one.option_strings and one.nargs == "?" for one in parser._actions)
        order = ["give it before all options"] if late else []
        return [f"unexpected argument {key!r}", *config, *order]
    if group := re.match(r"Group '([^']+)' does not", message):
        key = f"{group[1]}.{key}"
    classes = re.findall(r"class_path '([\w.]+)'", message)
    if not classes:
        return [f"unknown option {key!r}", *_meant(key, _names(parser))]
    known = [f"{place}.{name}" for name in _arguments(classes[-1])]
    key = f"{place}.{key}"
    return [f"unknown option {key!r} of {classes[-1]}", *_meant(key, known)]


def _missing(names: list[str], place: str, parser: jsonargparse.ArgumentParser) -> str:
    options = {a.dest: max(a.option_strings, key=len, default=a.dest) for a in parser._actions}
    if place:  # of a class that was chosen there
        return "missing: " + ", ".join(f"--{place}.{name}" for name in names)
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
    # What an option is a part of is not what was meant by it.
    others = (name for name in names if name != key and not key.startswith(f"{name}."))
    best = max(others, key=lambda name: _likeness(key, name), default="")
    return [f"did you mean {best}?"] if best and _likeness(key, best) >= 0.6 else []


def _inside(key: str, names: Iterable[str]) -> list[str]:
    """The line that lists the options beside an unknown one, if there are any."""
    group = key.rpartition(".")[0]
    below = (name.removeprefix(f"{group}.") for name in names if name.startswith(f"{group}."))
    inside = {name.split(".")[0].rstrip("+") for name in below}
    return [f"{group} has {', '.join(sorted(inside))}"] if inside else []


def _likeness(one: str, other: str) -> float:
    """From 0 to 1; the last part of a dotted name counts nearly as much as the whole."""
    (group, _, end), (other_group, _, other_end) = (
        name.lstrip("-").rpartition(".") for name in (one, other)
    )
    ends = difflib.SequenceMatcher(None, end, other_end).ratio()
    beside = group and group == other_group  # then the group says nothing of which is meant
    whole = 0 if beside else difflib.SequenceMatcher(None, one, other).ratio()
    words = other_end.split("_")
    initials = len(words) > 1 and end == "".join(word[:1] for word in words)
    return max(whole, 0.9 * ends, 0.7 * (end in words), 0.9 * initials)


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
    message: str,
    place: str,
    found: dict[str, str | None],
    parser: jsonargparse.ArgumentParser,
) -> list[str]:
    value = re.search(_VALUE, message)
    path, reason = found["path"] or (value["value"] if value else ""), found.get("reason")
    action = next((action for action in parser._actions if action.dest == place), None)
    wanted = _wanted(message, action)
    if reason and reason.startswith("does not implement protocol"):
        way = "its methods need these parameters, with these types:"
        return [f"{place} is {path!r}, which {reason}: {way}", *_signatures(wanted)]
    read = getattr(action and action.default, "get", None)
    known = [read("class_path", "")] if read else _known(wanted)
    keys = "keys with values, or " if not read and "implicit class_path" in message else ""
    example = f", such as {known[0]}" if known else ""
    nested = re.search(_NESTED, message)
    option = f", to have the option {nested[1]!r}" if nested else ""
    if reason and _is_of_import(reason):
        alike = [name for name in known if name.rpartition(".")[2] == path.rpartition(".")[2]]
        return [f"{place} is {path!r}: {_not_imported(path, reason)}", *_meant(path, alike)]
    line = f"{place} is {path!r}: {reason or f'expected {keys}a class path{example}{option}'}"
    beside = [name for one in (path, *known[:1]) for name in _classes_beside(one)]
    return [line, *_meant(path, [*known, *beside])]


def _bad_function(message: str, place: str, reason: str | None) -> str:
    found = re.search(_VALUE, message)
    path = found["value"] if found else ""
    if reason is None:
        reason = "expected the path of a function or class, such as my_module.my_function"
    elif _is_of_import(reason):
        reason = _not_imported(path, reason)
    return f"{place} is {path!r}: {reason}"


def _is_of_import(reason: str) -> bool:
    return reason.startswith(("No module", "cannot import"))


def _not_imported(path: str, reason: str) -> str:
    """Name the module that a class or function was looked for in: another may be what it lacks."""
    return f"cannot import {path.rpartition('.')[0]}: {reason}"


def _wanted(message: str, action: Any) -> Any:
    """The type that an option takes, the first of a union; of a list or mapping, what it holds."""
    if found := re.search(r"Subtypes: \[(?:list\[|<class ')?((?:\w+\.)+)(\w+)", message):
        return getattr(importlib.import_module(found[1][:-1]), found[2], object)
    hint = getattr(action, "_typehint", object)
    while get_origin(hint) in (list, dict):
        hint = get_args(hint)[-1]
    return hint


def _known(wanted: Any) -> list[str]:
    """Class paths of what fits a type of ours, of the packages that are loaded."""
    if not inspect.isclass(wanted) or not wanted.__module__.startswith("pingraph."):
        return []
    packages = [sys.modules.get(f"pingraph.{name}") for name in ("encoders", "samplers")]
    found = [
        f"{package.__name__}.{name}"
        for package in packages
        if package
        for name in package.__all__
        if _fits(getattr(package, name), wanted)
    ]
    return found or [f"{wanted.__module__}.{wanted.__name__}"]


def _fits(value: Any, wanted: type) -> bool:
    try:
        return value is not wanted and issubclass(value, wanted)
    except TypeError:  # no class, or a protocol that is not checked at run time
        return False


def _classes_beside(class_path: str) -> list[str]:
    module, _, _ = class_path.rpartition(".")
    try:
        members = vars(importlib.import_module(module))
    except (ImportError, ValueError):
        return []
    return [
        f"{module}.{name}"
        for name, value in members.items()
        if inspect.isclass(value) and value.__module__ != "typing"
    ]


def _signatures(protocol: Any) -> list[str]:
    methods = [one for one in vars(protocol).values() if inspect.isfunction(one)]
    named = [one for one in methods if not one.__name__.startswith("_")]
    return [f"  {one.__name__}{inspect.signature(one)}".replace("'", "") for one in named]
