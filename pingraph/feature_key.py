"""The name that a cached feature goes by: a hash of all that it depends on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from pingraph.content import SourceReader
    from pingraph.encoders.backbone import Backbone

Precision = Literal["float16", "float32"]

_RECIPE = 1  # raised when features are made in another way, so that none is stale


def feature_key(reader: SourceReader, backbone: Backbone, precision: Precision) -> str:
    """Return the sha256 of what the features of a data set depend on.

    That is what is read, what the preparation makes of a picture, and the
    backbone: its structure, its attributes, its configs, and each bit of its weights.
    """
    digest = hashlib.sha256()
    configs: list[Any] = [getattr(module, "config", None) for module in backbone.modules()]
    for part in (
        f"features {_RECIPE} {precision}",
        reader.fingerprint,
        _picture_prepared(backbone),
        repr(backbone),
        *(f"{name} {_attributes(module)}" for name, module in backbone.named_modules()),
        *(one.to_json_string() for one in configs if hasattr(one, "to_json_string")),
    ):
        digest.update(_hash(part.encode()).encode())
    for name, tensor in [*backbone.named_parameters(), *backbone.named_buffers()]:
        digest.update(f"{name} {_described(tensor)}\n".encode())
    return digest.hexdigest()


def _picture_prepared(backbone: Backbone) -> str:
    """Tell two ways of cutting or scaling a picture apart by what comes of it."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (45, 67, 3), dtype=np.uint8)
    return _described(backbone.preparation.pixels(Image.fromarray(noise)))


def _attributes(value: Any) -> str:
    """Tell the class of an object, and its public attributes."""
    hidden = {"training", "preparation"} if isinstance(value, torch.nn.Module) else set()
    public = {k: v for k, v in vars(value).items() if k[0] != "_" and k not in hidden}
    return f"{_kind(value)} {_described(public)}"


def _described(value: Any) -> str:
    """Tell what a value is, as far as it is plain, an array, or of our own classes."""
    if isinstance(value, int | float | str | None):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_described, value))})"
    if isinstance(value, dict):
        pairs = sorted((repr(key), _described(inside)) for key, inside in value.items())
        return f"{{{', '.join(f'{key}: {inside}' for key, inside in pairs)}}}"
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return f"{value.dtype} {tuple(value.shape)} {_hash(flat.numpy().data)}"
    ours = _kind(value).startswith("pingraph.") and hasattr(value, "__dict__")
    return _attributes(value) if ours and not isinstance(value, torch.nn.Module) else _kind(value)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _hash(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()
