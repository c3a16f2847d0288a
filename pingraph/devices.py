"""Where tensors live: the device that is used by default, and records of tensors moved to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def default_device() -> torch.device:
    """Return the GPU where torch finds one, else the CPU; `CUDA_VISIBLE_DEVICES=` hides GPUs."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def moved(record: Any, device: torch.device) -> Any:
    """Return a record, a tuple or a tensor with all its tensors on a device.

    A tensor in pinned memory arrives at a GPU while the host goes on. The host waits for what comes
    from there: else it would read what has not arrived.
    """
    away = device.type != "cpu"
    return changed(record, lambda tensor: tensor.to(device, non_blocking=away))


def pinned(record: Any) -> Any:
    """Return a record, a tuple or a tensor with all its tensors in pinned memory of the host."""
    return changed(record, Tensor.pin_memory)


def changed(record: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a record, however deep, with each of its tensors changed; what is none stays."""
    if isinstance(record, Tensor):
        return change(record)
    if isinstance(record, tuple):
        return tuple(changed(part, change) for part in record)
    if not is_dataclass(record) or isinstance(record, type):
        return record
    parts = {part.name: changed(getattr(record, part.name), change) for part in fields(record)}
    return type(record)(**parts)
