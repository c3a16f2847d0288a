"""Every mode, orientation and shape of image comes out as the RGB that a viewer would show."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pingraph.images import encode_png, load_pixels, open_image, to_rgb


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def reopened(image, format="PNG", **options):
    return open_image(encoded(image, format, **options))


def close(pixel, expected, tolerance=3):
    return np.abs(np.array(pixel, int) - expected).max() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_modes_keep_black_and_white(mode):
    half = np.zeros((4, 4), bool)
    half[:, 2:] = True
    if mode == "I;16":
        image = Image.fromarray(half.astype(np.uint16) * 65535)
    else:
        image = Image.fromarray(half.astype(np.uint8) * 255).convert(mode)
    rgb = to_rgb(reopened(image))
    assert rgb.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(rgb), np.repeat(half[..., None] * 255, 3, 2))


@pytest.mark.parametrize("level", [0, 257, 12850, 32896, 65535])
def test_sixteen_bits_are_scaled_not_clipped(level):
    image = reopened(Image.fromarray(np.full((3, 3), level, np.uint16)))
    assert to_rgb(image).getpixel((0, 0)) == (level // 257,) * 3


@pytest.mark.parametrize(("top", "level"), [(1.0, 128), (255.0, 0.5)])
def test_float_pixels_are_read_by_their_range(top, level):
    image = Image.fromarray(np.array([[0.5, top]], np.float32))
    assert close(to_rgb(reopened(image, "TIFF")).getpixel((0, 0)), level, 1)


def test_transparency_is_flattened_on_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 255, 128))
    rgb = to_rgb(reopened(image))
    assert rgb.getpixel((0, 0)) == (255, 255, 255)
    assert close(rgb.getpixel((1, 0)), (127, 127, 255))


def test_palette_transparency_is_flattened_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 0), 1)
    rgb = to_rgb(reopened(image, transparency=0))
    assert rgb.getpixel((0, 0)) == (255, 255, 255)
    assert rgb.getpixel((1, 0)) == (200, 0, 0)


def test_cmyk_jpeg_keeps_its_color():
    image = Image.new("RGB", (16, 16), (200, 30, 40)).convert("CMYK")
    assert close(to_rgb(reopened(image, "JPEG", quality=95)).getpixel((8, 8)), (200, 30, 40), 12)


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    image = reopened(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    assert image.n_frames == 3
    assert to_rgb(image).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (1, 0)), (8, (0, 1))]
)
def test_exif_orientation_is_obeyed(orientation, corner):
    image = Image.new("RGB", (64, 64), "white")
    image.paste((0, 0, 0), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = load_pixels(reopened(image, "JPEG", exif=exif, quality=95), 2)
    dark = pixels.mean(0) < 128
    assert dark.sum() == 1
    assert dark[corner[1], corner[0]]


@pytest.mark.parametrize("orientation", range(10))
def test_a_turned_picture_keeps_its_aspect(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    dark = load_pixels(reopened(Image.new("RGB", (64, 32)), "JPEG", exif=exif), 16).max(0) < 128
    sides = dark.any(0).sum(), dark.any(1).sum()
    assert sides == ((8, 16) if 5 <= orientation <= 8 else (16, 8))


@settings(deadline=None, max_examples=40)
@example(width=11, height=58, size=13, format="JPEG")
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.integers(1, 48),
    format=st.sampled_from(["PNG", "JPEG", "WEBP"]),
)
def test_pixels_hold_the_whole_picture_centred_on_white(width, height, size, format):
    pixels = load_pixels(reopened(Image.new("RGB", (width, height), (0, 0, 0)), format), size)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, size, size)
    assert pixels.flags.c_contiguous
    scale = size / max(width, height)
    box = [max(1, round(side * scale)) for side in (width, height)]
    rows, columns = ((pixels.max(0) < 200).any(axis) for axis in (1, 0))
    assert [columns.sum(), rows.sum()] == box
    for filled in (rows, columns):
        before, after = filled.argmax(), filled[::-1].argmax()
        assert 0 <= after - before <= 1
    outside = ~(rows[:, None] & columns[None])
    assert (pixels[:, outside] == 255).all()


def test_a_drafted_photograph_looks_like_the_whole_one():
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    data = encoded(coarse.resize((1600, 1200), Image.Resampling.BICUBIC), "JPEG", quality=95)
    drafted = open_image(data)
    pixels = load_pixels(drafted, 64)
    assert 2 * 64 <= drafted.size[0] < 1600  # it was decoded small, and not too small
    whole = load_pixels(to_rgb(open_image(data)), 64)
    assert np.abs(pixels.astype(int) - whole).mean() < 2


def test_a_png_is_kept_to_the_pixel_at_its_own_size():
    pixels = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    image = open_image(encode_png(Image.fromarray(pixels)))
    np.testing.assert_array_equal(load_pixels(image, 20), pixels.transpose(2, 0, 1))


def blank_png(width, height):
    """A PNG that says how large it is and holds nothing."""
    data = bytearray(encoded(Image.new("RGB", (1, 1))))
    data[16:29] = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 20_000])  # above Pillow's limit, and above twice that
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side):
    open_image(blank_png(9_000, 9_000))
    with pytest.raises((ValueError, Image.DecompressionBombError), match="pixels"):
        open_image(blank_png(side, side))


def test_a_decoder_that_runs_programs_is_not_reached():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    assert Image.open(io.BytesIO(postscript)).format == "EPS"
    with pytest.raises(OSError, match="cannot identify"):
        open_image(postscript)
