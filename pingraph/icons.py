"""Real pins and boards without a download: the solid icons of the PyPI package fontawesomefree."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

from pingraph.errors import PinGraphError
from pingraph.tags import write_tagged

SIZE = 64  # pixels of a side
MARGIN = 4  # white pixels around the glyph
INK = (34, 34, 34)


def make_icons(folder: str | Path) -> None:
    """Write the icons data set: pins are solid icons, boards are categories and search terms.

    A pin's image is its glyph, dark on white, 64 x 64 PNG; its text is its label. Of
    boards with the same pins categories are kept before terms; which others are left out stands in
    `write_tagged`. One version of fontawesomefree and Pillow gives one data set.

    Args:
        folder: a new or empty folder.

    Raises:
        PinGraphError: fontawesomefree is not installed, or the folder cannot be written.
    """
    package = _package_folder()
    icons = {
        name: icon
        for name, icon in json.loads((package / "metadata" / "icons.json").read_text()).items()
        if "solid" in icon["free"]
    }
    font = next((package / "otfs").glob("*Solid-900.otf"))
    images = _draw(font, [chr(int(icon["unicode"], 16)) for icon in icons.values()])
    write_tagged(
        folder,
        images=dict(zip(icons, images, strict=True)),
        texts={name: icon["label"] for name, icon in icons.items()},
        tags=_tags(icons, package / "metadata" / "categories.yml"),
    )


def _package_folder() -> Path:
    spec = importlib.util.find_spec("fontawesomefree")
    if spec is None or not spec.submodule_search_locations:
        raise PinGraphError(
            "the icons data set is drawn from the package fontawesomefree, which is not "
            "installed: pip install pingraph[demo]"
        )
    return Path(spec.submodule_search_locations[0]) / "static" / "fontawesomefree"


def _tags(icons: dict, categories: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (board id, title, pin id) for each category and each search term of an icon."""
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every value stays a string
    for key, category in yaml.load(categories.read_text(), Loader=loader).items():
        for name in category["icons"]:
            yield f"category:{key}", category["label"], name
    for name, icon in icons.items():
        for term in icon["search"]["terms"]:
            title = str(term).strip().lower()
            yield f"term:{title}", title, name


def _draw(font_path: Path, glyphs: list[str]) -> list[bytes]:
    """Return each glyph as PNG, scaled so that its ink fills the square up to the margin."""
    from PIL import Image, ImageDraw, ImageFont

    from pingraph.images import encode_png

    large = 4 * SIZE  # drawn large and reduced: smooth edges, and no hinting of the font's engine
    font = ImageFont.truetype(font_path, large, layout_engine=ImageFont.Layout.BASIC)
    images = []
    for glyph in glyphs:
        ink = Image.new("L", (3 * large, 3 * large), 0)
        ImageDraw.Draw(ink).text((large, large), glyph, fill=255, font=font)
        ink = ink.crop(ink.getbbox())
        scale = (SIZE - 2 * MARGIN) / max(ink.size)
        width, height = (max(1, round(side * scale)) for side in ink.size)
        left, top = (SIZE - width) // 2, (SIZE - height) // 2
        paper = Image.new("RGB", (SIZE, SIZE), (255, 255, 255))
        fitted = ink.resize((width, height), Image.Resampling.LANCZOS)
        paper.paste(INK, (left, top, left + width, top + height), fitted)
        images.append(encode_png(paper))
    return images
