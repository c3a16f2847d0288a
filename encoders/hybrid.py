"""HybridEncoder: a pin's content in, its image, text and fused embeddings out, all in one space."""

from torch import Tensor, nn
from torch.nn import functional as F

from pingraph.encoders.fusion import HybridFusion
from pingraph.encoders.text import TextTransformer
from pingraph.encoders.vision import HybridVisionTransformer
from pingraph.errors import PinGraphError
from pingraph.interfaces import Embeddings, PinContent


class HybridEncoder(nn.Module):
    """A hybrid vision transformer and a text transformer, fused at token and at pooled level.

    After PinCLIP (arXiv 2603.03544): a hybrid ViT, fusion at several granularities. The paper's
    sizes are not public; the defaults here train on two CPU cores. The embedding of a pin depends
    on its content alone, so a pin without a single save is embedded as well as any other.

    Args:
        image_size: pixels of a side of the square images, a multiple of 8.
        vocab_size: distinct tokens of the tokenizer, at least 2.
        max_tokens: longest text, in tokens.
        dim: channels of the tokens, a multiple of 16 and of `heads`.
        embed_dim: dimension D of the embeddings.
        vision_depth: transformer blocks over the image's coarse tokens.
        text_depth: transformer blocks over the text's tokens.
        heads: attention heads of each block.
        dropout: share of activations dropped in training, 0 up to below 1.

    Raises:
        PinGraphError: a size that is too small, or does not fit another.
    """

    def __init__(
        self,
        image_size: int = 32,
        vocab_size: int = 4096,
        max_tokens: int = 24,
        dim: int = 96,
        embed_dim: int = 128,
        vision_depth: int = 2,
        text_depth: int = 1,
        heads: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__()
        _check_sizes(
            image_size=image_size,
            vocab_size=vocab_size,
            max_tokens=max_tokens,
            dim=dim,
            embed_dim=embed_dim,
            vision_depth=vision_depth,
            text_depth=text_depth,
            heads=heads,
        )
        if not 0 <= dropout < 1:
            raise PinGraphError(f"dropout is {dropout}: expected 0 up to below 1")
        self.image_size = image_size
        self.vocab_size = vocab_size
        self.max_tokens = max_tokens
        self.vision = HybridVisionTransformer(image_size, dim, vision_depth, heads, dropout)
        self.text = TextTransformer(vocab_size, max_tokens, dim, text_depth, heads, dropout)
        self.image_head = nn.Linear(2 * dim, embed_dim)
        self.text_head = nn.Linear(2 * dim, embed_dim)
        self.fusion = HybridFusion(dim, embed_dim, heads, dropout)

    def forward(self, content: PinContent) -> Embeddings:
        """Embed U pins; each tower runs only on the pins that have its modality."""
        has_image, token_mask = content.has_image, content.token_mask
        has_text = token_mask.any(1)
        image_tokens, image = self._image(content.images, has_image)
        text_tokens, text = self._text(content.tokens, token_mask, has_text)
        fused = self.fusion(image_tokens, has_image, image, text_tokens, token_mask, text)
        known = (has_image | has_text).unsqueeze(1)
        fused = F.normalize(fused, dim=1) * known
        return Embeddings(
            image=image, text=text, fused=fused, has_image=has_image, has_text=has_text
        )

    def _image(self, images: Tensor, has_image: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [U, M, C] and unit vectors [U, D], zero for the pins without an image."""
        rows = has_image.nonzero().squeeze(1)
        if not len(rows):
            return self._absent(len(images), 1)
        tokens, pooled = self.vision(images[rows])
        vectors = F.normalize(self.image_head(pooled), dim=1)
        return _spread(tokens, rows, len(images)), _spread(vectors, rows, len(images))

    def _text(self, tokens: Tensor, mask: Tensor, has_text: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [U, T, C] and unit vectors [U, D], zero for the pins without text."""
        rows = has_text.nonzero().squeeze(1)
        if not len(rows):
            return self._absent(len(tokens), tokens.shape[1])
        encoded, pooled = self.text(tokens[rows], mask[rows])
        vectors = F.normalize(self.text_head(pooled), dim=1)
        return _spread(encoded, rows, len(tokens)), _spread(vectors, rows, len(tokens))

    def _absent(self, pins: int, tokens: int) -> tuple[Tensor, Tensor]:
        weight = self.image_head.weight
        return (
            weight.new_zeros(pins, tokens, weight.shape[1] // 2),
            weight.new_zeros(pins, weight.shape[0]),
        )


def _spread(values: Tensor, rows: Tensor, size: int) -> Tensor:
    """Put values back at their rows among `size`, zeros elsewhere."""
    return values.new_zeros(size, *values.shape[1:]).index_copy(0, rows, values)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        least = {"vocab_size": 2, "vision_depth": 0, "text_depth": 0}.get(name, 1)
        if size < least:
            raise PinGraphError(f"{name} is {size}: expected {least} or more")
    stride = HybridVisionTransformer.STRIDE_COARSE
    if sizes["image_size"] % stride:
        raise PinGraphError(f"image_size is {sizes['image_size']}: expected a multiple of {stride}")
    if sizes["dim"] % sizes["heads"] or sizes["dim"] % 16:
        expected = f"a multiple of 16 and of heads ({sizes['heads']})"
        raise PinGraphError(f"dim is {sizes['dim']}: expected {expected}")
