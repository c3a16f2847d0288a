"""A folder that the projector of TensorBoard opens; docs/export.md says how.

The format has no escapes: a row is a line, a tab parts columns, an empty field is one without
value, and a line of blanks is skipped. So whatever else pins are called becomes one line of
printable characters.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pingraph.errors import PinGraphError
from pingraph.files import atomic_folder
from pingraph.pictures import Pictures, sheet
from pingraph.plain_text import plain

if TYPE_CHECKING:
    from pingraph.export.facts import Facts

MOST = 100_000  # rows that the projector reads
SHEET = 8192  # pixels, the side of the largest sheet of pictures that it shows
_SIDE = 64  # pixels of a picture, where the sheet has room for it
_QUALITY = 90
_LONGEST = 120  # characters of a text, and of the boards together


def write_projector(folder: Path, facts: Facts) -> None:
    """Write vectors.tsv, metadata.tsv, sprite.jpg and projector_config.pbtxt to a new folder.

    The sheet of pictures is left out where no pin has one.

    Raises:
        PinGraphError: there are more pins than the projector reads, or the folder exists and is
            not empty, or cannot be written.
    """
    count = len(facts.pins)
    if count > MOST:
        raise PinGraphError(f"{count:,} pins: the projector reads {MOST:,} at most, draw fewer")
    with atomic_folder(folder) as temporary:
        _write_vectors(temporary / "vectors.tsv", facts.vectors)
        _write_metadata(temporary / "metadata.tsv", facts)
        side = _write_sprite(temporary / "sprite.jpg", facts)
        _write_config(temporary / "projector_config.pbtxt", facts.subject.name, side)


def _write_vectors(path: Path, vectors: np.ndarray) -> None:
    with path.open("w", encoding="ascii", newline="\n") as file:
        for vector in vectors:  # nine digits give back every float32
            file.write("\t".join(f"{value:.9g}" for value in vector.tolist()) + "\n")


def _write_metadata(path: Path, facts: Facts) -> None:
    dataset = facts.subject.dataset
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(["text", "id", "state", "num_boards", "boards", *facts.scores]) + "\n")
        for row, pin in enumerate(facts.pins.tolist()):
            titles = facts.titles[row]
            scores = (values[row] for values in facts.scores.values())
            fields = [
                plain(dataset.texts[pin], _LONGEST),
                plain(str(dataset.pin_ids[pin]), None),
                facts.states[row],
                str(len(titles)),
                plain(", ".join(titles), _LONGEST),
                *("" if math.isnan(score) else f"{score:.4g}" for score in scores),
            ]
            file.write("\t".join(fields) + "\n")


def _write_sprite(path: Path, facts: Facts) -> int | None:
    """Write the pictures row by row, as many in a row as in a column, and return their side."""
    columns = math.ceil(math.sqrt(len(facts.pins)))
    side = min(_SIDE, SHEET // columns)
    images = Pictures(facts.subject.dataset).each(facts.pins.tolist(), side)
    if not any(images):
        return None
    sheet(images, columns, side, rows=columns).save(path, quality=_QUALITY)
    return side


def _write_config(path: Path, name: str, side: int | None) -> None:
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    config = ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name=plain(name), tensor_path="vectors.tsv", metadata_path="metadata.tsv"
    )
    if side is not None:
        embedding.sprite.image_path = "sprite.jpg"
        embedding.sprite.single_image_dim.extend([side, side])
    path.write_text(text_format.MessageToString(config), encoding="utf-8")
