"""Pictures that people tagged: the Open Clip Art Library, as Debian packages it.

    apt-get download openclipart-svg openclipart-png
    for package in openclipart-*.deb; do dpkg-deb --extract $package clip-art; done
    python -m pingraph.experiments.open_clip_art clip-art clip-art-folder

docs/datasets.md tells what is in it, docs/results.md what was found on it.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from pingraph.errors import PinGraphError
from pingraph.files import check_new_folder
from pingraph.images import encode_png, open_image, to_rgb
from pingraph.parsing import run_module
from pingraph.progress import progress_bar
from pingraph.tags import write_tagged

SIDE = 224  # pixels, of the longer side
COMPUTED = "shapes/stars"  # 1,378 stars that a program drew, all with one title and one set of tags
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


def make_clip_art(packages: Path, out: Path) -> None:
    """Write the clip art of two Debian packages as a data set.

    A pin is a drawing: its image is its PNG, on white, at most 224 pixels a side; its text is its
    title, or the words of its file's name where it has no title or shares it with others (which
    then names a collection). A board is a tag. Stars that a program drew, links to other drawings,
    tags that are a program's mistake (HASH(0x8a39378)) and pictures that cannot be read are left
    out.

    Args:
        packages: the folder into which openclipart-svg and openclipart-png were extracted.
        out: a new or empty folder for the data set.
    """
    # Pillow warns of what the size limit below refuses or lets pass.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    root = packages / "usr" / "share" / "openclipart"
    check_new_folder(out)
    drawings = list(_drawings(root))
    shared = Counter(title for _, title, _ in drawings)
    images, texts, tags = {}, {}, []
    with progress_bar(len(drawings)) as step:
        for pin, title, keywords in drawings:
            step(pin)
            picture = _picture(root / "png" / f"{pin}.png")
            if picture is None:
                continue
            images[pin] = picture
            texts[pin] = title if title and shared[title] == 1 else _name(pin)
            tags += [(keyword, keyword, pin) for keyword in keywords]
    write_tagged(out, images, texts, tags)
    print(f"{out}: {len(images):,} pins; pictures not readable: {len(drawings) - len(images):,}")


def _drawings(root: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield pin id, title and tags of each drawing that is in both packages."""
    for package in ("svg", "png"):
        if not (root / package).is_dir():
            raise PinGraphError(
                f"{root / package}: no such folder; expected openclipart-{package}, extracted"
            )
    for path in sorted((root / "svg").rglob("*.svg")):
        pin = path.relative_to(root / "svg").with_suffix("").as_posix()
        drawn = root / "png" / f"{pin}.png"
        if path.is_symlink() or pin.startswith(COMPUTED) or not drawn.is_file():
            continue
        try:
            drawing = ElementTree.parse(path)
        except ElementTree.ParseError as error:
            raise PinGraphError(f"{path}: not an SVG file ({error})") from None
        title = drawing.findtext(f".//{_DUBLIN_CORE}title") or ""
        subject = drawing.find(f".//{_DUBLIN_CORE}subject")
        found = subject.iter(_ITEM) if subject is not None else ()
        keywords = {(item.text or "").strip().lower().replace("_", " ") for item in found}
        kept = sorted(one for one in keywords if one and not re.match(r"hash\b|0x", one))
        yield pin, title.strip(), kept


def _picture(path: Path) -> bytes | None:
    try:
        image = to_rgb(open_image(path))
    except Exception:  # whatever Pillow makes of a file that is cut, or has too many pixels
        return None
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return encode_png(image)


def _name(pin: str) -> str:
    """Return the words of a file's name, without the number at its end."""
    return " ".join(re.sub(r"[\W_]*\d+$", "", pin.rpartition("/")[2]).replace("_", " ").split())


def main(args: list[str] | None = None) -> None:
    """Run the command line; what the user can put right is printed, and exits with 2."""
    run_module(make_clip_art, "pingraph.experiments.open_clip_art", args)


if __name__ == "__main__":
    main()
