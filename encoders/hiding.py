"""Hides a part of what is read in training, the more the more often training sees each pin.

A pin that is seen often is soon known by heart, unless something else of it is hidden each time. In
a training that sees it a few times only there is no danger, and what is hidden is lost.
"""

from __future__ import annotations

from torch import nn


class HiddenNumbers(nn.Dropout):
    """Hides a share of the numbers that it is given; the whole share from `PASSES` on."""

    PASSES = 37  # over the training pins

    def __init__(self, share: float):
        super().__init__(share)
        self.most = share


class HiddenRows(nn.Dropout1d):
    """Hides a share of the rows that it is given, whole ones; the whole share from `PASSES` on."""

    PASSES = 74  # over the training pins

    def __init__(self, share: float):
        super().__init__(share)
        self.most = share


def hide_for(module: nn.Module, passes: float) -> None:
    """Set what each part of a module hides to min(1, passes / its PASSES) times its share.

    Args:
        module: an encoder, or a part that hides by itself.
        passes: over the training pins that a training is to make, as anchors; above 0.
    """
    for part in module.modules():
        if isinstance(part, HiddenNumbers | HiddenRows):
            part.p = part.most * min(1.0, passes / part.PASSES)
