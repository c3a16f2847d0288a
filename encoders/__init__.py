"""Encoders: from a pin's image and text to embeddings in one space."""

from pingraph.encoders.backbone import Backbone
from pingraph.encoders.hybrid import HybridEncoder
from pingraph.encoders.small import SmallBackbone

__all__ = ["Backbone", "HybridEncoder", "SmallBackbone"]
