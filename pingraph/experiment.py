"""An experiment: a grid of data sets, methods and seeds, written down in a YAML file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pingraph.datasets import BUILT_IN
from pingraph.errors import PinGraphError

BASELINES = ("tf_idf", "raw_pixels")
_KEYS = ("title", "data", "seeds", "options", "methods", "reference")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid."""

    data: str  # name of the data set
    source: str  # "icons", "world" or its folder
    method: str
    seed: int
    options: dict[str, Any]  # of `pingraph fit`; or {"baseline": name} for what is not trained

    @property
    def path(self) -> Path:
        """Where it is kept, in the experiment's folder."""
        return Path(self.data, re.sub(r"[^\w.+-]+", "-", self.method), f"seed-{self.seed}")

    def arguments(self) -> list[str]:
        """Return the options as arguments of `pingraph fit`."""
        given = {
            "seed_everything": self.seed,
            "data.folder": self.source,
            "data.split.seed": self.seed,
            **self.options,
        }
        return [f"--{name}={_spelled(value)}" for name, value in given.items()]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What an experiment's file says.

    Args:
        title: a line for the table.
        data: "icons", "world" or folders of data sets.
        seeds: of the split and the training.
        options: of `pingraph fit`, for all methods.
        methods: by name, what each changes: options of `pingraph fit`, or a `baseline`.
        reference: the method that the others are compared with.
    """

    title: str
    data: tuple[str, ...]
    seeds: tuple[int, ...]
    options: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    reference: str

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """Read a YAML file; docs/experiments.md describes it.

        Raises:
            PinGraphError: it is missing or no YAML, or a key is unknown, missing or of another
                form; names the file and the key.
        """
        path = Path(path)
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = getattr(error, "strerror", None) or str(error).replace("\n", " ")
            raise PinGraphError(f"{path}: cannot be read as YAML ({reason})") from error
        _check(path, given)
        methods = {str(name): changes or {} for name, changes in given["methods"].items()}
        return cls(
            title=str(given.get("title", path.stem)),
            data=tuple(given["data"]),
            seeds=tuple(given.get("seeds", [0])),
            options=given.get("options") or {},
            methods=methods,
            reference=str(given.get("reference", next(iter(methods)))),
        )

    def of(
        self, *, data: Sequence[str] = (), methods: Sequence[str] = (), seeds: Sequence[int] = ()
    ) -> Experiment:
        """Return the experiment with other data and seeds, or some of its methods.

        Raises:
            PinGraphError: a method is unknown.
        """
        for name in methods:
            if name not in self.methods:
                raise PinGraphError(f"no method {name!r}: expected one of {list(self.methods)}")
        chosen = {name: self.methods[name] for name in methods} or self.methods
        return replace(
            self,
            data=tuple(data) or self.data,
            seeds=tuple(seeds) or self.seeds,
            methods=chosen,
            reference=self.reference if self.reference in chosen else next(iter(chosen)),
        )

    def cells(self) -> list[Cell]:
        """Return the runs, seed by seed, so that a table is whole as early as it can be."""
        return [
            Cell(
                data=source if source in BUILT_IN else Path(source).resolve().name,
                source=source if source in BUILT_IN else str(Path(source).resolve()),
                method=method,
                seed=seed,
                options=changes if "baseline" in changes else {**self.options, **changes},
            )
            for seed in self.seeds
            for source in self.data
            for method, changes in self.methods.items()
        ]


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check(path: Path, given: Any) -> None:
    if not isinstance(given, dict):
        raise PinGraphError(f"{path}: expected keys, of {', '.join(_KEYS)}")
    for key in given:
        if key not in _KEYS:
            raise PinGraphError(f"{path}: unknown key {key!r}: expected {', '.join(_KEYS)}")
    for key, kind, what in (
        ("data", list, "a list of names and folders"),
        ("methods", dict, "names, each with options of `pingraph fit`"),
        ("seeds", list, "a list of whole numbers"),
        ("options", dict, "options of `pingraph fit`"),
    ):
        found = given.get(key)
        if (key in ("data", "methods") and not found) or (
            found is not None and type(found) is not kind
        ):
            raise PinGraphError(f"{path}: {key} is {found!r}: expected {what}")
    for name, changes in given["methods"].items():
        if changes is not None and not isinstance(changes, dict):
            raise PinGraphError(f"{path}: methods.{name} is {changes!r}: expected options")
        baseline = (changes or {}).get("baseline", BASELINES[0])
        if baseline not in BASELINES:
            expected = " or ".join(BASELINES)
            raise PinGraphError(f"{path}: methods.{name}.baseline is {baseline!r}: {expected}")
    for seed in given.get("seeds") or []:
        if type(seed) is not int or seed < 0:
            raise PinGraphError(f"{path}: seeds has {seed!r}: expected whole numbers from 0")
    reference = given.get("reference")
    if reference is not None and reference not in given["methods"]:
        raise PinGraphError(f"{path}: reference is {reference!r}: expected one of the methods")
