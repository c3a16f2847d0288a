"""Encoded images in, plain RGB out: every mode, orientation and size that real collections hold."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF")
_ON_ITS_SIDE = (5, 6, 7, 8)  # of the orientations of EXIF
WHITE = (255, 255, 255)


def open_image(source: bytes | Path) -> Image.Image:
    """Open an encoded image without decoding it; `to_rgb` and `load_pixels` decode.

    Only the formats in `FORMATS` are tried, so no decoder that runs other programs is reached.

    Raises:
        ValueError: the image has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
        Exception: whatever Pillow raises for bytes that are no image, or the file system.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else io.BytesIO(source.read_bytes())
    image = Image.open(file, formats=FORMATS)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {limit:,}")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the first frame as RGB, turned as EXIF says, transparency flattened on white.

    Gray levels of 16 bits are brought to 8. Floating-point pixels are taken as 0 … 1 when none is
    above 1, else as 0 … 255. Color profiles are ignored.
    """
    image = _eight_bits(ImageOps.exif_transpose(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (*WHITE, 255))
        image = Image.alpha_composite(paper, image)
    return image.convert("RGB")


def load_pixels(image: Image.Image, size: int) -> np.ndarray:
    """Return an image as uint8 [3, size, size]: whole, aspect kept, centred on white.

    A JPEG that has not been decoded yet is decoded at a fraction of its size, at least twice the
    size that is needed, which is several times faster for photographs.
    """
    scale = size / max(image.size)
    # Of the size before it is decoded small, whose rounding would change the aspect.
    fitted = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.getexif().get(ExifTags.Base.Orientation) in _ON_ITS_SIDE:
        fitted = fitted[::-1]
    image.draft("RGB", (int(2 * scale * image.width) + 1, int(2 * scale * image.height) + 1))
    image = to_rgb(image)
    if fitted != image.size:
        image = image.resize(fitted, Image.Resampling.BICUBIC)
    if fitted != (size, size):
        paper = Image.new("RGB", (size, size), WHITE)
        paper.paste(image, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
        image = paper
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def encode_png(image: Image.Image) -> bytes:
    """Return the image as PNG bytes."""
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=False)
    return file.getvalue()


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips at 255 instead of scaling: a 16-bit photograph turns white.
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(levels / 257, 0, 255).round().astype(np.uint8))
    if image.mode == "F":
        levels = np.nan_to_num(np.asarray(image).astype(np.float64))
        scale = 255 if levels.max() <= 1 else 1
        return Image.fromarray(np.clip(levels * scale, 0, 255).round().astype(np.uint8))
    return image
