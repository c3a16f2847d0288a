"""What an experiment is made of, beside `pingraph fit`: methods and conditions, by class path.

Letters: N pins of the data set, B queries of a block.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jsonargparse
import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.errors import PinGraphError
from pingraph.mistakes import explain, own_error
from pingraph.ranking import Scorer
from pingraph.splits import Split

KEYS = {"class_path", "init_args"}


class Method(Protocol):
    """Anything that scores pins, whatever it learns for that.

    A method that knows a pin by its saves alone sets `warm_only = True` in its class: then it is
    asked only for pins that have a save in training.
    """

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Learn from the training side of a data set, and return what scores its pins.

        Args:
            dataset: content may be read of all pins; of edges there are also the held-out ones, so
                take those of `split.train_graph(dataset.graph)`.
            split: says which edges and pins may be trained on.
            seed: of all that is drawn.

        Returns:
            By task ("pin_to_pin", "image_to_text", "text_to_image", "board_to_pins") a function
            from queries (int64 [B], dense pins, or boards) to fresh float32 [B, N], higher is
            better. A task that the method has no answer to is left out.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What a method may see, and by what it is judged; both have the same pins."""

    dataset: PinBoardDataset  # what methods see
    split: Split  # of it: what may be trained on
    truth: PinBoardDataset  # says who is relevant; mostly the same data set
    judge: Split  # of `truth`: which pairs are known, and which pins are cold
    queries: np.ndarray | None = None  # int64, the only pins that are asked; None for all
    candidates: np.ndarray | None = None  # int64, what warm pins rank; None for the warm pins


class Condition(Protocol):
    """Under what methods are compared: what is held out, and what is done to the training data."""

    def trial(self, dataset: PinBoardDataset, folder: Path, *, seed: int) -> Trial:
        """Return the trial of a data set; the same arguments give the same one.

        Args:
            dataset: the whole data set.
            folder: where to write one that is changed, if it is.
            seed: of all that is drawn.
        """
        ...


def built(spec: Any, does: str, where: str) -> Any:
    """Make the object that a class path and its arguments name.

    Args:
        spec: {"class_path": …, "init_args": {…}}, as of a YAML file.
        does: the method that it must have: "scorers" of a `Method`, "trial" of a `Condition`.
        where: the file and key that it stands at, for messages.

    Raises:
        PinGraphError: there is no such class, an argument is missing, unknown or wrong.
    """
    if not isinstance(spec, dict) or not set(spec) <= KEYS or "class_path" not in spec:
        raise PinGraphError(f"{where} is {spec!r}: expected class_path and init_args")
    found = _imported(str(spec["class_path"]), does, where)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(found, "part")
    try:
        return parser.instantiate(parser.parse_object({"part": spec.get("init_args") or {}})).part
    except Exception as error:  # jsonargparse raises many kinds
        reason = str(own_error(error) or explain(str(error), parser)[0])
        raise PinGraphError(
            f"{where}: {reason.replace('--part.', '').replace('part.', '')}"
        ) from error


def _imported(class_path: str, does: str, where: str) -> type:
    module, _, name = class_path.rpartition(".")
    if not module:
        raise PinGraphError(f"{where}: {class_path!r}: expected a path such as my_module.MyClass")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise PinGraphError(f"{where}: {class_path!r}: {error}") from error
    except Exception as error:  # of the user's own lines
        from pingraph.samplers.asking import users_place_of

        place = users_place_of(error)  # a SyntaxError has none, and names its line itself
        told = f"{type(error).__name__}: {error}{f' ({place})' if place else ''}"
        raise PinGraphError(f"{where}: {class_path!r}: {told}") from error
    if not isinstance(found, type) or not callable(getattr(found, does, None)):
        raise PinGraphError(f"{where}: {class_path!r}: expected a class with the method {does!r}")
    return found
