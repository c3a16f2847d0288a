"""`pingraph explain`: why two pins are near, as data and as text."""

from pingraph.explain.explanation import COMPARISONS, compare_vectors, explain

__all__ = ["COMPARISONS", "compare_vectors", "explain"]
