"""Encoders: from a pin's image and text to embeddings in one space."""

from pingraph.encoders.hybrid import HybridEncoder

__all__ = ["HybridEncoder"]
