"""An experiment: a grid of data sets, conditions, methods and seeds, from a YAML file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pingraph.datasets import BUILT_IN
from pingraph.errors import PinGraphError
from pingraph.experiment.json_values import check_json
from pingraph.experiment.parts import KEYS, built
from pingraph.results import PARTS, TASKS
from pingraph.yaml_files import read_yaml

EMBEDDINGS = ("fused", "image", "text")
# Of a method: how it is judged, which `pingraph fit` is not told.
_JUDGED = ("embedding", "served", "propagation")
USUAL = {"class_path": "pingraph.experiments.conditions.HeldOut"}
GIVEN = ("seed_everything", "data.folder", "data.split", "trainer.default_root_dir")
KEPT = ("recall@10", "ndcg@10", "mrr", "hit_rate@10")  # metrics that are kept of each query
_LAST_SEED = 2**32 - 1  # that `pingraph fit` takes
MEASURE = {"part": "cold", "task": "pin_to_pin", "metric": "recall@10"}
_MEASURES = {"part": tuple(PARTS), "task": tuple(TASKS), "metric": KEPT}
_FORMS = {
    "title": (str, "a line of text"),
    "data": (list, "a list of names and folders"),
    "seeds": (list, "a list of whole numbers"),
    "options": (dict, "options of `pingraph fit`"),
    "conditions": (dict, "names, each with a class_path"),
    "methods": (dict, "names, each with options of `pingraph fit` or a class_path"),
    "reference": (str, "the name of a method"),
    "measure": (dict, "part, task and metric"),
    "by_saves": (bool, "true or false"),
    "curves": (dict, "names, each with the sizes of conditions or methods"),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid."""

    data: str  # name of the data set
    source: str  # "icons", "world" or its folder
    condition: str  # its name, "" where the file names none
    under: dict[str, Any]  # its class_path and init_args
    method: str
    made_by: dict[str, Any]  # a class_path and init_args; or options of `pingraph fit`
    seed: int

    @property
    def path(self) -> Path:
        """Where it is kept, in the experiment's folder."""
        parts = (self.data, *([self.condition] if self.condition else []), self.method)
        # Nothing and dots alone are no names of folders.
        names = (re.sub(r"[^\w.+-]+|^\.*$", "-", part) for part in parts)
        return Path(*names, f"seed-{self.seed}")

    @property
    def is_fit(self) -> bool:
        """Whether it is trained by `pingraph fit`."""
        return "class_path" not in self.made_by

    @property
    def embedding(self) -> str:
        """Which vectors of a `pingraph fit` find pins: "fused", "image" or "text"."""
        return self.made_by.get("embedding", "fused")

    @property
    def served(self) -> dict[str, Any]:
        """In which form the vectors of a `pingraph fit` are judged, as arguments of `View`."""
        return self.made_by.get("served", {})

    @property
    def propagation(self) -> dict[str, Any] | None:
        """What the walks of known pins add, as arguments of `Propagation`; None for nothing."""
        return self.made_by.get("propagation")

    def trains_like(self, other: Cell) -> bool:
        """Return whether `pingraph fit` makes the same of both: they may differ in `_JUDGED`."""
        if not (self.is_fit and other.is_fit):
            return False
        mine, theirs = ((one.source, one.under, one.seed) for one in (self, other))
        return mine == theirs and self.arguments() == other.arguments()

    def arguments(self) -> list[str]:
        """Return the options as arguments of `pingraph fit`."""
        options = {key: value for key, value in self.made_by.items() if key not in _JUDGED}
        given = {"seed_everything": self.seed, **options}
        return [f"--{name}={_spelled(value)}" for name, value in given.items()]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What an experiment's file says.

    Args:
        file: what was read.
        title: a line for the table.
        data: "icons", "world" or folders of data sets.
        seeds: of what is held out and of the training.
        options: of `pingraph fit`, for all methods that are trained by it.
        conditions: by name, under what the methods are compared.
        methods: by name, what each changes: options of `pingraph fit`, with `embedding`, `served`
            and `propagation`; or a class of another method.
        reference: the method that the others are compared with.
        measure: the part, task and metric that methods are compared by.
        by_saves: whether the table shows the measure by the saves that a pin has in training.
        curves: by name, the sizes of some conditions or methods, through which a curve is fitted.
        whole: with all conditions and methods of the file, where these are some of them.
    """

    file: Path
    title: str
    data: tuple[str, ...]
    seeds: tuple[int, ...]
    options: dict[str, Any]
    conditions: dict[str, dict[str, Any]]
    methods: dict[str, dict[str, Any]]
    reference: str
    measure: dict[str, str]
    by_saves: bool
    curves: dict[str, dict[str, float]]
    whole: Experiment | None = None

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """Read a YAML file; docs/experiments.md describes it.

        Raises:
            PinGraphError: it is missing or no YAML, or a key is unknown, missing, twice there or of
                another form, or a class cannot be made; names the file and the key.
        """
        path = Path(path)
        given = read_yaml(path)
        _check(path, given)
        methods = {str(name): changes or {} for name, changes in given["methods"].items()}
        return cls(
            file=path,
            title=given.get("title", path.stem),
            data=tuple(given["data"]),
            seeds=tuple(given.get("seeds") or [0]),
            options=given.get("options") or {},
            conditions={str(k): v for k, v in (given.get("conditions") or {"": USUAL}).items()},
            methods=methods,
            reference=str(given.get("reference", next(iter(methods)))),
            measure={**MEASURE, **(given.get("measure") or {})},
            by_saves=given.get("by_saves", False),
            curves=given.get("curves") or {},
        )

    def of(
        self,
        *,
        data: Sequence[str] = (),
        conditions: Sequence[str] = (),
        methods: Sequence[str] = (),
        seeds: Sequence[int] = (),
    ) -> Experiment:
        """Return the experiment with other data and seeds, or some of its conditions and methods.

        Raises:
            PinGraphError: a condition or method is unknown, or a seed is out of its range.
        """
        _check_seeds("--seeds", seeds)
        chosen = _some("method", self.methods, methods)
        return replace(
            self,
            data=tuple(data) or self.data,
            seeds=tuple(seeds) or self.seeds,
            conditions=_some("condition", self.conditions, conditions),
            methods=chosen,
            reference=self.reference if self.reference in chosen else next(iter(chosen)),
            whole=self.whole or self,
        )

    def of_file(self) -> list[Cell]:
        """Return the runs of all conditions and methods of the file, on these data and seeds."""
        return replace(self.whole or self, data=self.data, seeds=self.seeds).cells()

    def cells(self) -> list[Cell]:
        """Return the runs, seed by seed, so that a table is whole as early as it can be."""
        return [
            Cell(
                data=name,
                source=source,
                condition=condition,
                under=under,
                method=method,
                made_by=changes if "class_path" in changes else {**self.options, **changes},
                seed=seed,
            )
            for seed in self.seeds
            for name, source in map(_named, self.data)
            for condition, under in self.conditions.items()
            for method, changes in self.methods.items()
        ]


def _named(data: str) -> tuple[str, str]:
    if data in BUILT_IN:
        return data, data
    folder = Path(data).resolve()
    return folder.name, str(folder)


def _some(what: str, known: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    for name in names:
        if name not in known:
            raise PinGraphError(f"no {what} {name!r}: expected one of {list(known)}")
    return {name: known[name] for name in names} or known


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check(path: Path, given: Any) -> None:
    if not isinstance(given, dict):
        raise PinGraphError(f"{path}: expected keys, of {', '.join(_FORMS)}")
    for key in given:
        if key not in _FORMS:
            raise PinGraphError(f"{path}: unknown key {key!r}: expected {', '.join(_FORMS)}")
    for key, (kind, what) in _FORMS.items():
        found = given.get(key)
        missing = key in ("data", "methods") and not found
        if missing or (found is not None and type(found) is not kind):
            raise PinGraphError(f"{path}: {key} is {found!r}: expected {what}")
    for one in given["data"]:
        if not isinstance(one, str):
            raise PinGraphError(f"{path}: data has {one!r}: expected names and folders")
    _check_seeds(f"{path}: seeds", given.get("seeds") or [])
    _check_options(f"{path}: options", given.get("options") or {})
    for name, spec in (given.get("conditions") or {}).items():
        check_json(f"{path}: conditions.{name}", spec)
        built(spec, "trial", f"{path}: conditions.{name}")
    for name, changes in given["methods"].items():
        check_json(f"{path}: methods.{name}", changes)
        _check_method(f"{path}: methods.{name}", changes)
    for name, sizes in (given.get("curves") or {}).items():
        _check_curve(f"{path}: curves.{name}", sizes, given)
    reference = given.get("reference")
    if reference is not None and reference not in map(str, given["methods"]):
        raise PinGraphError(f"{path}: reference is {reference!r}: expected one of the methods")
    for key, value in (given.get("measure") or {}).items():
        if key not in _MEASURES:
            raise PinGraphError(f"{path}: measure has {key!r}: expected part, task and metric")
        if value not in _MEASURES[key]:
            expected = ", ".join(_MEASURES[key])
            raise PinGraphError(f"{path}: measure.{key} is {value!r}: expected one of {expected}")


def _check_seeds(where: str, seeds: Sequence[Any]) -> None:
    for seed in seeds:
        if type(seed) is not int or not 0 <= seed <= _LAST_SEED:
            expected = f"whole numbers from 0 to {_LAST_SEED}"
            raise PinGraphError(f"{where} has {seed!r}: expected {expected}")
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise PinGraphError(f"{where} has {twice[0]} twice")


def _check_method(where: str, changes: Any) -> None:
    if changes is not None and not isinstance(changes, dict):
        raise PinGraphError(f"{where} is {changes!r}: expected options of `pingraph fit`")
    if changes and "class_path" in changes:
        built(changes, "scorers", where)
        return
    _check_options(where, changes or {})


def _check_served(where: str, served: Any, channels: int | None = None) -> None:
    from pingraph.views import View  # imports torch

    try:
        view = View(**served)
        view.width(view.dim if channels is None else channels)
    except TypeError:
        expected = "dim and code, such as {dim: 32, code: int8}"
        raise PinGraphError(f"{where} is {served!r}: expected {expected}") from None
    except PinGraphError as error:
        raise PinGraphError(f"{where}: {error}") from error


def _check_propagation(where: str, options: dict[str, Any]) -> None:
    from pingraph.propagation import Propagation

    if options.get("served") or options.get("embedding", "fused") != "fused":
        raise PinGraphError(f"{where} has propagation: expected of whole fused embeddings alone")
    given = options["propagation"]
    if not isinstance(given, dict) or not given.keys() <= {"weight", "visits"}:
        expected = "weight and visits, or {} for the defaults"
        raise PinGraphError(f"{where}.propagation is {given!r}: expected {expected}")
    try:
        Propagation(**given)
    except PinGraphError as error:
        raise PinGraphError(f"{where}.propagation: {error}") from error


def _check_curve(where: str, sizes: Any, given: dict[str, Any]) -> None:
    known = [set(map(str, given.get(key) or ())) for key in ("conditions", "methods")]
    if not isinstance(sizes, dict) or not any(set(sizes) <= names for names in known):
        raise PinGraphError(f"{where} is {sizes!r}: expected conditions, or methods, with sizes")
    for name, size in sizes.items():
        if type(size) not in (int, float) or not 0 < size < math.inf:
            raise PinGraphError(f"{where}.{name} is {size!r}: expected a number above 0")


def check_arguments(file: Path, cells: Sequence[Cell]) -> None:
    """Check the options of each method together with those of all, as `pingraph fit` would.

    Args:
        file: that names them, for messages.
        cells: of these methods.

    Raises:
        PinGraphError: `pingraph fit` does not know an option, its value is of a wrong type, or
            `served` keeps more channels than the encoder's embed_dim.
    """
    for cell in {cell.method: cell for cell in cells if cell.is_fit}.values():
        from pingraph.fit_options import check_options  # imports torch and Lightning

        where = f"{file}: methods.{cell.method}"
        try:
            options = check_options(cell.arguments())
        except PinGraphError as error:
            raise PinGraphError(f"{where}: {error}") from error
        channels = options.get("model.encoder.init_args.embed_dim")  # None: of another's encoder
        _check_served(f"{where}.served", cell.served, channels)


def _check_options(where: str, options: dict[str, Any]) -> None:
    check_json(where, options)
    for key in options:
        if key in KEYS:
            raise PinGraphError(f"{where} has {key!r}: expected options of `pingraph fit`")
        if any(key == name or key.startswith(f"{name}.") for name in GIVEN):
            raise PinGraphError(f"{where} has {key!r}, which the grid gives to each cell itself")
    embedding = options.get("embedding", "fused")
    if embedding not in EMBEDDINGS:
        raise PinGraphError(f"{where}.embedding is {embedding!r}: expected {', '.join(EMBEDDINGS)}")
    _check_served(f"{where}.served", options.get("served", {}))
    if "propagation" in options:
        _check_propagation(where, options)
