"""The weights in a checkpoint: read without running code, and checked before they are loaded."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import torch
from torch import Tensor, nn

from pingraph.errors import PinGraphError


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint, by name.

    Raises:
        PinGraphError: there is no such file, or it is no checkpoint or a damaged one.
    """
    if not path.is_file():
        raise PinGraphError(f"{path}: no such checkpoint")
    try:
        with ZipFile(path) as archive:  # torch.load does not look at the checksums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} has another checksum")
        return torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        raise PinGraphError(f"{path}: not a checkpoint, or a damaged one") from error


def check_state(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Check that the weights `state` fit a module, by name and shape.

    Args:
        module: the module that is to load them.
        state: weights by name.
        source: where they come from, for the message.

    Raises:
        PinGraphError: they do not; the message names the first that differs.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise PinGraphError(
                f"{source} is of another model: {name} is {_shape(found.get(name))} there, "
                f"and {_shape(expected.get(name))} in this model"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"
