"""Hides a part of what is read in training, the more the more often training sees each pin.

A pin that is seen often is soon known by heart, unless something else of it is hidden each time. In
a training that sees it a few times only there is no danger, and what is hidden is lost.
"""

from __future__ import annotations

from torch import nn

PASSES = 37  # over the training pins, from which on shares are what they are given as


class HiddenNumbers(nn.Dropout):
    """Hides a share of the numbers that it is given."""

    def __init__(self, share: float):
        super().__init__(share)
        self.most = share


class HiddenRows(nn.Dropout1d):
    """Hides a share of the rows that it is given, whole ones."""

    def __init__(self, share: float):
        super().__init__(share)
        self.most = share


def hide_for(module: nn.Module, passes: float) -> None:
    """Set what the parts of a module hide to min(1, passes / PASSES) times their shares.

    Args:
        module: an encoder.
        passes: over the training pins that a training is to make, as anchors; above 0.
    """
    for part in module.modules():
        if isinstance(part, HiddenNumbers | HiddenRows):
            part.p = part.most * min(1.0, passes / PASSES)
