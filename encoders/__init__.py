"""Encoders: from a pin's image and text to embeddings in one space."""

from pingraph.encoders.backbone import Backbone
from pingraph.encoders.hybrid import HybridEncoder
from pingraph.encoders.pretrained import PretrainedBackbone
from pingraph.encoders.qwen import QwenBackbone
from pingraph.encoders.small import SmallBackbone
from pingraph.encoders.tuning import Tuning
from pingraph.encoders.two_tower import TwoTowerBackbone

__all__ = [
    "Backbone",
    "HybridEncoder",
    "PretrainedBackbone",
    "QwenBackbone",
    "SmallBackbone",
    "Tuning",
    "TwoTowerBackbone",
]
