"""Small pictures and phrases drawn from nothing but numbers, for synthetic worlds.

A look is a shape, a hue and a texture for the eye and a handful of invented words for the reader;
looks differ in at least one of the three. H is the side of the picture in pixels.
"""

from __future__ import annotations

import colorsys

import numpy as np

HUES = 12
VOCABULARY = 8  # invented words of a look
_FILLER = ("my", "the", "new", "best", "idea", "for", "with", "and", "today", "some", "from", "old")
_SYLLABLES = [onset + vowel for onset in "bdfgklmnprstvz" for vowel in "aeiou"]


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 1


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) - 0.85


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(0.866 * abs(x) + 0.5 * y, -y) - 0.5


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(abs(x) - 1, abs(y) - 0.33), np.maximum(abs(y) - 1, abs(x) - 0.33))


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return abs(np.hypot(x, y) - 0.75) - 0.25


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.7 - 0.3 * np.cos(5 * np.arctan2(y, x))


def _plain(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros_like(x, bool)


def _stripes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sin(9 * x) > 0


def _checks(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sin(7 * x) * np.sin(7 * y) > 0


def _rings(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sin(11 * np.hypot(x, y)) > 0


SHAPES = (_circle, _square, _triangle, _cross, _ring, _star)  # distance to the edge, < 0 inside
TEXTURES = (_plain, _stripes, _checks, _rings)  # where the second tone shows
NUM_LOOKS = len(SHAPES) * HUES * len(TEXTURES)


def draw_picture(code: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a look at a random place, size and angle on a random pale ground.

    Args:
        code: which look, 0 … NUM_LOOKS - 1.
        size: pixels of a side, H.
        rng: draws what the look leaves open, and a little pixel noise.

    Returns:
        uint8 [H, H, 3].
    """
    code, shape = divmod(code, len(SHAPES))
    hue, texture = divmod(code, len(TEXTURES))
    radius, angle = rng.uniform(0.5, 0.85), rng.uniform(-0.5, 0.5)
    center = rng.uniform(-1, 1, 2) * (0.95 - radius)
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(axis - center[0], axis - center[1])
    u = (x * np.cos(angle) + y * np.sin(angle)) / radius
    v = (y * np.cos(angle) - x * np.sin(angle)) / radius

    cover = np.clip(0.5 - SHAPES[shape](u, v) * radius * size / 2, 0, 1)[..., None]
    turned = (hue + rng.uniform(-0.25, 0.25)) / HUES
    bright, dark = _color(turned, 0.9, rng.uniform(0.8, 1)), _color(turned, 0.9, 0.45)
    ground = _color(rng.uniform(), 0.12, rng.uniform(0.75, 1))
    inside = np.where(TEXTURES[texture](u, v)[..., None], dark, bright)
    noise = rng.normal(0, 0.03, (size, size, 3))
    pixels = cover * inside + (1 - cover) * ground + noise
    return (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8)


def invent_words(count: int, rng: np.random.Generator) -> list[str]:
    """Invent distinct words of three syllables; none is a filler word."""
    numbers = rng.choice(len(_SYLLABLES) ** 3, size=count, replace=False)
    base = len(_SYLLABLES)
    places = (numbers // base**2, numbers // base % base, numbers % base)
    return ["".join(_SYLLABLES[part] for part in word) for word in zip(*places, strict=True)]


def write_phrase(vocabulary: list[str], rng: np.random.Generator) -> str:
    """Write three to seven words, at least one of them from the vocabulary, the rest filler."""
    words = [str(rng.choice(vocabulary))]
    for _ in range(rng.integers(2, 7)):
        source = vocabulary if rng.uniform() < 0.5 else _FILLER
        words.append(str(rng.choice(source)))
    return " ".join(rng.permutation(words))


def _color(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))
