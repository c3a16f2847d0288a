"""Which samplers to compare: from the command line, from a YAML file, or those that fit a graph."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pingraph import samplers as built_in
from pingraph.errors import PinGraphError
from pingraph.yaml_files import parse_yaml, read_yaml

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import Sampler

USUAL = (
    "PinSAGESampler",
    "PixieSampler",
    "PPRSampler",
    "CoBoardSampler",
    "Node2VecSampler",
    "TemporalSampler",
)
_KEYS = {"class_path", "init_args"}


def spell_out(args: list[str]) -> list[str]:
    """Return the arguments of `pingraph sample` as jsonargparse reads them.

    `--sampler` may be repeated, each adding one; `--samplers` names a YAML file; and classes of
    pingraph.samplers go by their short names in both.

    Raises:
        PinGraphError: a short name is unknown, or the file is not YAML of named samplers.
    """
    return [*_spelled_out(args)]


def gather(
    sampler: list[Sampler] = [],  # noqa: B006 (not changed; None among the types spoils the errors)
    samplers: dict[str, Sampler] = {},  # noqa: B006
) -> dict[str, Sampler]:
    """Return the chosen samplers by name, those of the file first.

    Args:
        sampler: the class path of a sampler; of pingraph.samplers the class is enough. May be
            repeated; options such as --sampler.k belong to the one before them.
        samplers: a YAML file of named samplers: a class_path, and init_args if there are any, each.

    Raises:
        PinGraphError: two of them have the same name.
    """
    more = named(sampler)
    for name in more:
        if name in samplers:
            raise PinGraphError(f"--sampler: there is a sampler {name!r} in the file already")
    return {**samplers, **more}


def usual_samplers(graph: PinBoardGraph) -> tuple[dict[str, Sampler], dict[str, str]]:
    """Return the built-in samplers by name, and for those that do not fit the graph the reason."""
    fitting, unfit = {}, {}
    for name in USUAL:
        sampler = getattr(built_in, name)()
        try:
            sampler.sample(graph, np.zeros(1, np.int64), seed=0)
        except PinGraphError as error:
            unfit[name] = str(error)
        else:
            fitting[name] = sampler
    return fitting, unfit


def named(samplers: list[Sampler]) -> dict[str, Sampler]:
    """Name samplers by their class, and by the settings in which those of one class differ."""
    classes = Counter(type(sampler).__name__ for sampler in samplers)
    out: dict[str, Sampler] = {}
    for sampler in samplers:
        name = type(sampler).__name__
        if classes[name] > 1:
            alike = [settings(one) for one in samplers if type(one).__name__ == name]
            mine = settings(sampler)
            telling = [key for key in mine if any(one.get(key) != mine[key] for one in alike)]
            if telling:
                name += f"({', '.join(f'{key}={mine[key]}' for key in telling)})"
        if name in out:
            raise PinGraphError(f"--sampler: {name} is given twice with the same settings")
        out[name] = sampler
    return out


def settings(sampler: Any) -> dict[str, Any]:
    """Return the arguments of a sampler as JSON values; objects among them by class and arguments.

    Of a class that is no dataclass these are its attributes.
    """
    if dataclasses.is_dataclass(sampler):
        names = [field.name for field in dataclasses.fields(sampler)]
    else:
        names = [name for name in getattr(sampler, "__dict__", {}) if not name.startswith("_")]
    return {name: _as_json(getattr(sampler, name)) for name in names}


def class_path(thing: Any) -> str:
    """Return the path by which a YAML file names the class."""
    kind = type(thing)
    public = getattr(built_in, kind.__name__, None) is kind
    return f"{built_in.__name__ if public else kind.__module__}.{kind.__qualname__}"


def _as_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_as_json(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _as_json(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value):
        return {"class_path": class_path(value), "init_args": settings(value)}
    return f"{type(value).__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _spelled_out(args: list[str]) -> Iterator[str]:
    rest, chosen = iter(args), False
    for arg in rest:
        option, equals, value = arg.partition("=")
        if option in ("--sampler", "--sampler+", "--samplers", "--sampler.help"):
            value = value if equals else next(rest, "")
            if option == "--samplers":
                yield f"{option}={_read(value)}"
            elif option == "--sampler.help":
                yield f"{option}={_full(value)}"
            else:
                chosen = True
                yield f"--sampler+={_inline(value)}"
        elif option.startswith("--sampler.") and not chosen:
            raise PinGraphError(f"{option} stands before any --sampler: give it after its own")
        else:
            yield arg


def _inline(text: str) -> str:
    value = parse_yaml(text, "--sampler")
    if value is None:
        raise PinGraphError("--sampler: expected a class, such as PinSAGESampler")
    return _full(value) if isinstance(value, str) else json.dumps(_with_full_names(value))


def _read(path: str) -> str:
    """Return a YAML file of named samplers as JSON."""
    entries = read_yaml(path)
    if not isinstance(entries, dict) or not entries:
        raise PinGraphError(f"{path}: expected names with a class_path (and init_args) each")
    for name, entry in entries.items():
        if isinstance(entry, str):
            entries[name] = {"class_path": entry}
        elif not isinstance(entry, dict) or not {"class_path"} <= {*entry} <= _KEYS:
            found = ", ".join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
            raise PinGraphError(
                f"{path}: {name}: found {found}; expected class_path (and init_args)"
            )
    return json.dumps(_with_full_names(entries))


def _with_full_names(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_full_names(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        str(key): _full(one) if key == "class_path" else _with_full_names(one)
        for key, one in value.items()
    }


def _full(name: Any) -> Any:
    """Return the class path of a class of pingraph.samplers; a path stays as it is."""
    if not isinstance(name, str) or "." in name:
        return name
    if name not in built_in.__all__:
        near = difflib.get_close_matches(name, built_in.__all__, 1)
        meant = f"\ndid you mean {near[0]}?" if near else ""
        raise PinGraphError(
            f"no class {name!r} in {built_in.__name__}; name your own by its full path{meant}"
        )
    return f"{built_in.__name__}.{name}"
