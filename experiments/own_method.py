"""A method of one's own, ready for an experiment: pins by the words of their boards.

    methods:
      words of boards:
        class_path: pingraph.experiments.own_method.BoardWords
        init_args: {rare: 2.0}

Copy the file, put it where Python finds it (PYTHONPATH), and name its class in the YAML file.
"""

from __future__ import annotations

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from pingraph.errors import PinGraphError


class BoardWords:
    """Cosine of the words in the titles of two pins' boards.

    Args:
        rare: how much more a rare word counts, from 0: inverse document frequency to this power.
    """

    warm_only = True  # a pin without saves has no words: ask only for those that have some

    def __init__(self, rare: float = 1.0):
        if rare < 0:
            raise PinGraphError(f"rare is {rare}: expected 0 or more")
        self.rare = rare

    def scorers(self, dataset, split, *, seed):
        """Return a function from query pins to scores of all pins, for the task pin → pin."""
        boards = split.train_graph(dataset.graph).incidence()  # the held-out saves are not in it
        words = CountVectorizer(token_pattern=r"\w+").fit_transform(dataset.board_titles)
        counts = np.maximum((words > 0).sum(axis=0).A1, 1)
        weights = np.log(1 + words.shape[0] / counts) ** self.rare
        pins = normalize((boards @ words).multiply(weights)).tocsr().astype(np.float32)
        return {"pin_to_pin": lambda queries: (pins[queries] @ pins.T).toarray()}
