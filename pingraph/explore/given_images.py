"""Images that were sent to search with, kept so that Back finds them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.explore.cards import SIDES, png, small_pixels
from pingraph.images import open_image
from pingraph.queries import cannot_search, image_vector

if TYPE_CHECKING:
    from pingraph.subject import Subject

_KEPT = 100


@dataclass(frozen=True, kw_only=True)
class GivenImage:
    """An image that was sent, as the runs see it."""

    picture: bytes  # PNG
    vectors: list[np.ndarray | None]  # of each run its embedding, float32 [D]; None without one


class GivenImages:
    """The last images that were sent.

    Args:
        subjects: the embeddings that are searched with them.
    """

    def __init__(self, subjects: Sequence[Subject]):
        self.subjects = subjects
        self._images: OrderedDict[str, GivenImage] = OrderedDict()

    def keep(self, data: bytes) -> str:
        """Embed an encoded image and return the key under which it is kept.

        Raises:
            PinGraphError: no run can be searched by image, or it cannot be decoded.
        """
        reasons = [cannot_search(subject, "image") for subject in self.subjects]
        if all(reasons):
            raise PinGraphError("; ".join(filter(None, reasons)))
        vectors = [
            None if reason else image_vector(subject, data, "the image")
            for subject, reason in zip(self.subjects, reasons, strict=True)
        ]
        key = hashlib.sha256(data).hexdigest()[:16]
        picture = png(small_pixels(open_image(data), SIDES[-1]))
        self._images[key] = GivenImage(picture=picture, vectors=vectors)
        while len(self._images) > _KEPT:
            self._images.popitem(last=False)
        return key

    def __getitem__(self, key: str) -> GivenImage:
        """Return an image; raises PinGraphError where the key is not known."""
        if key not in self._images:
            raise PinGraphError("this image is not known any more: give the file once more")
        return self._images[key]
