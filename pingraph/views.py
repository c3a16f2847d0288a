"""Short forms of an embedding that are trained for: a prefix of it, int8 or one bit a channel.

D channels of an embedding, d of its view.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from pingraph.errors import PinGraphError

Code = Literal["float", "int8", "binary"]


@dataclass(frozen=True, kw_only=True)
class View:
    """The first channels of an embedding, in a code of few bytes, as a function with a gradient.

    A loss over the views of the embeddings makes the short forms good at what the whole is trained
    for (Matryoshka, arXiv 2205.13147). `pingraph.codes` makes the same forms to be stored.

    "int8" is round(127 v / max |v|), so a code needs no scale of a data set or of a batch, and the
    vector's own scale goes when it is brought to length 1. "binary" is the sign of each channel,
    +1 for 0. Rounding has no gradient: the view's is that of the unrounded vector, the plain
    straight-through estimator (arXiv 1308.3432). Its clipped form stops channels that run away;
    those of a vector of length 1 cannot.

    Args:
        dim: channels d that are kept, from the first; 0 keeps all.
        code: "float", "int8" or "binary".
        weight: of the view among those of an objective, above 0.

    Raises:
        PinGraphError: a dim below 0, an unknown code, or a weight that is not above 0.
    """

    dim: int = 0
    code: Code = "float"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.dim < 0:
            raise PinGraphError(f"dim is {self.dim}: expected 0 (all channels) or more")
        if self.code not in get_args(Code):
            expected = ", ".join(get_args(Code))
            raise PinGraphError(f"code is {self.code!r}: expected one of {expected}")
        if not 0 < self.weight < math.inf:
            raise PinGraphError(f"weight is {self.weight}: expected a number above 0")

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the view of vectors.

        Args:
            vectors: float [..., D], of length 1, or zero for what a pin lacks.

        Returns:
            float [..., d], of length 1, or zero where the d channels are. The whole float view is
            `vectors` itself.

        Raises:
            PinGraphError: the vectors have fewer channels than the view.
        """
        size = self.width(vectors.shape[-1])
        whole = size == vectors.shape[-1]
        soft = vectors if whole else _unit(vectors[..., :size])
        if self.code == "float":
            return soft
        kept = vectors.detach()[..., :size]
        hard = _int8(kept) if self.code == "int8" else _binary(kept)
        # The difference is zero, so the values are those of `hard` to the last bit.
        return hard + (soft - soft.detach())

    def width(self, channels: int) -> int:
        """Return the number d of channels that the view keeps of `channels`.

        Raises:
            PinGraphError: there are fewer than the view keeps.
        """
        if self.dim > channels:
            raise PinGraphError(f"dim is {self.dim}: the embeddings have {channels} channels")
        return self.dim or channels


def _unit(vectors: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1)


def _int8(vectors: Tensor) -> Tensor:
    values = (vectors * _inverse(vectors.abs().amax(-1, keepdim=True)) * 127).round()
    # An exact sum, and a root that is rounded once: torch's of float32 is now and then a bit off.
    length = values.int().square().sum(-1, keepdim=True).double().sqrt().float()
    return (values * _inverse(length)).to(vectors.dtype)


def _inverse(sizes: Tensor) -> Tensor:
    """1 / sizes, and 0 of 0. To multiply with it gives the same bits in any batch and in NumPy.

    Division does not: torch divides by a single number otherwise than by many.
    """
    return torch.where(sizes > torch.finfo(sizes.dtype).tiny, sizes.reciprocal(), 0)


def _binary(vectors: Tensor) -> Tensor:
    present = (vectors != 0).any(-1, keepdim=True).to(vectors.dtype)
    height = present * vectors.shape[-1] ** -0.5
    return torch.where(vectors >= 0, height, -height)
