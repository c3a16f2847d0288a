"""What every sampler on tensors checks first: a GPU that reads beyond an array is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pingraph.errors import PinGraphError
from pingraph.samplers.requests import check_draw, check_times
from pingraph.samplers.torch_randomness import epoch_key

if TYPE_CHECKING:
    from pingraph.samplers.torch_graph import DeviceGraph


def call_key(seed: int, epoch: int) -> Tensor:
    """Return the `epoch_key` of a call; raise a PinGraphError if a part is out of range."""
    check_draw(seed, epoch)
    return epoch_key(int(seed), int(epoch))


def check_seed_tensor(graph: DeviceGraph, seeds: Tensor) -> None:
    """Raise a PinGraphError unless the seeds are pins of the graph, int64 [B]."""
    if seeds.ndim != 1 or seeds.dtype != torch.int64:
        found = f"{seeds.dtype} of shape {tuple(seeds.shape)}"
        raise PinGraphError(f"seeds are {found}; expected int64 of shape (B,)")
    unknown = (seeds < 0) | (seeds >= graph.num_pins)
    if unknown.any():
        row = int(unknown.int().argmax())
        raise PinGraphError(
            f"seeds[{row}] is {int(seeds[row])}; "
            f"expected a pin of the graph, 0 to {graph.num_pins - 1}"
        )


def time_tensor(seeds: np.ndarray, times: Any) -> Tensor | None:
    """Return a time for each seed as int64 [B]; raise a PinGraphError if they are none."""
    return None if times is None else torch.from_numpy(check_times(seeds, times))


def check_time_tensor(seeds: Tensor, times: Tensor | None) -> None:
    """Raise a PinGraphError unless the times, if there are any, are int64 [B]."""
    if times is not None and (times.dtype != torch.int64 or times.shape != seeds.shape):
        raise PinGraphError(
            f"times are {times.dtype} of shape {tuple(times.shape)}; "
            f"expected int64 of shape {tuple(seeds.shape)}"
        )
