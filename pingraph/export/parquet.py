"""One Parquet file that Embedding Atlas, FiftyOne and Spotlight read; docs/export.md says how."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pingraph.files import atomic_file
from pingraph.knn import Knn, nearest_neighbors
from pingraph.pictures import Pictures
from pingraph.planar import plane, principal
from pingraph.progress import progress_bar

if TYPE_CHECKING:
    from PIL import Image

    from pingraph.export.facts import Facts

MOST_ON_MAP = 20_000  # pins, of which t-SNE makes the map; of more it is a plain projection
_BLOCK = 1024  # pins of a row group
_SMALL = 64  # pixels up to which a picture is kept as PNG
_QUALITY = 90  # of JPEG
_STRINGS = pa.list_(pa.string())
_NEIGHBORS = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float32()))])
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_parquet(path: Path, facts: Facts, *, k: int = 10, image_size: int = 128) -> None:
    """Write pins, a row each, with what is told of them; map and neighbors are of these alone.

    Columns: "row" (0, 1, …), "id", "text", "boards" (titles), "num_boards", "state", "x", "y",
    "neighbors" ({ids, distances}: rows, and 1 - cosine), "vector", "image" ({bytes, path}) and
    "recall_at_10", "hit_at_10". What a pin has not, or was not asked for, is null.

    Args:
        path: the file.
        facts: of the pins.
        k: neighbors of a pin; there are n - 1 where that is fewer.
        image_size: width and height of the pictures, in pixels; 0 writes none. They are JPEG, or
            PNG up to 64 pixels.

    Raises:
        PinGraphError: `k` is below 1, or the file cannot be written.
    """
    schema = _schema(facts)
    pictures = Pictures(facts.subject.dataset)
    starts = range(0, len(facts.pins), _BLOCK)
    with (
        atomic_file(path) as temporary,
        progress_bar(len(starts) + 2) as step,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        step("neighbors")
        knn = nearest_neighbors(facts.vectors, k)
        step("map")
        places = (plane if len(facts.pins) <= MOST_ON_MAP else principal)(facts.vectors)
        for start in starts:
            step("pins")
            rows = slice(start, start + _BLOCK)
            columns = _columns(facts, knn, places, rows)
            columns["image"] = _images(pictures, facts.pins[rows], image_size)
            arrays = [pa.array(columns[f.name], f.type) for f in schema]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _schema(facts: Facts) -> pa.Schema:
    fields: dict[str, Any] = {
        "row": pa.int64(),
        "id": pa.int64() if facts.subject.dataset.pin_ids.dtype.kind in "iu" else pa.string(),
        "text": pa.string(),
        "boards": _STRINGS,
        "num_boards": pa.int32(),
        "state": pa.string(),
        "x": pa.float64(),
        "y": pa.float64(),
        "neighbors": _NEIGHBORS,
        "vector": pa.list_(pa.float32(), facts.vectors.shape[1]),
        "image": _IMAGE,
        **dict.fromkeys(facts.scores, pa.float64()),
    }
    return pa.schema(fields)


def _columns(facts: Facts, knn: Knn, places: np.ndarray, rows: slice) -> dict[str, Any]:
    dataset, pins, titles = facts.subject.dataset, facts.pins[rows], facts.titles[rows]
    found = knn.ids[rows], 1 - knn.scores[rows]
    return {
        "row": np.arange(len(facts.pins))[rows],
        "id": dataset.pin_ids[pins].tolist(),
        "text": [dataset.texts[pin] or None for pin in pins.tolist()],
        "boards": titles,
        "num_boards": [len(of_pin) for of_pin in titles],
        "state": facts.states[rows],
        "x": places[rows, 0],
        "y": places[rows, 1],
        "neighbors": [
            {"ids": ids, "distances": distances}
            for ids, distances in zip(*(side.tolist() for side in found), strict=True)
        ],
        "vector": list(facts.vectors[rows]),
        **{name: pa.array(values[rows], from_pandas=True) for name, values in facts.scores.items()},
    }


def _images(pictures: Pictures, pins: np.ndarray, size: int) -> list[dict[str, Any] | None]:
    if not size:
        return [None] * len(pins)
    found = pictures.each(pins.tolist(), size)
    return [None if image is None else {"bytes": _encoded(image), "path": None} for image in found]


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    if image.width <= _SMALL:
        image.save(file, format="PNG")
    else:
        image.save(file, format="JPEG", quality=_QUALITY)
    return file.getvalue()
