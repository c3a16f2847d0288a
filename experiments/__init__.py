"""Recipes and runners of the experiments."""
