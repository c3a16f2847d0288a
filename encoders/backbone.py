"""What HybridEncoder needs of a backbone: two towers, and how their input is prepared."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from pingraph.encoders.vocabulary import Vocabulary
from pingraph.interfaces import Preparation, Tokens


class Backbone(nn.Module):
    """An image tower and a text tower. U pins, T text tokens, S pixels of a side.

    Attributes:
        preparation: makes pixels and token ids of images and texts.
        image_width: channels of the image tokens.
        image_pooled_width: channels of the image tower's own summary.
        image_levels: depths that its tokens are taken from.
        grid: patches of a side; the last grid² tokens of each level are the patches, row by row.
        text_width: channels of the text tokens.
        text_pooled_width: channels of the text tower's own summary.
        text_levels: depths that its tokens are taken from.
        vocabulary: that is learned with the weights; None for a pretrained tokenizer.
    """

    preparation: Preparation
    image_width: int
    image_pooled_width: int
    image_levels: int
    grid: int
    text_width: int
    text_pooled_width: int
    text_levels: int

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary: Vocabulary | None = None

    @abstractmethod
    def embed_images(self, images: Tensor) -> Tokens:
        """Encode images uint8 [U, 3, S, S], RGB."""

    @abstractmethod
    def embed_texts(self, tokens: Tensor, mask: Tensor) -> Tokens:
        """Encode token ids int64 [U, T], seen where mask bool [U, T]; each row has one at least."""

    @property
    def frozen(self) -> bool:
        """Whether nothing of it is trained, so that its tokens can be computed once and kept."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile each layer of the towers by itself; arguments as of `torch.compile`.

        In them is nearly all the work, and the layers of a tower share one compilation.
        """
        for layer in _layers(self):
            layer.compile(*args, **kwargs)

    def learning_rate_scales(self) -> dict[str, float]:
        """Return what the learning rate of a parameter is multiplied with, by name; 1 if absent."""
        return {}


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else _layers(child)
