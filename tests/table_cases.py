"""Embeddings by chance, and tables of them, that the tests of neighborhoods share."""

from dataclasses import replace

import numpy as np

from pingraph.codes import encode
from pingraph.interfaces import EmbeddingTable


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_vectors(seed, rows=50, width=6):
    return unit(np.random.default_rng(seed).normal(size=(rows, width)))


def orthogonal(seed, width):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def alike_table(pin_ids, vectors):
    """A table in which a pin's image, text and fused vectors are one."""
    everyone = np.ones(len(vectors), bool)
    columns = dict.fromkeys(("image", "text", "fused"), vectors.astype(np.float32))
    return EmbeddingTable(pin_ids=pin_ids, has_image=everyone, has_text=everyone, **columns)


def table_of_pins(dataset, image, text, fused):
    """A table of a data set's pins; vectors of what a pin lacks become zero."""
    return EmbeddingTable(
        pin_ids=dataset.pin_ids,
        image=image * dataset.has_image[:, None],
        text=text * dataset.has_text[:, None],
        fused=fused,
        has_image=dataset.has_image,
        has_text=dataset.has_text,
    )


def decoded(table, view):
    """A table of what the stored forms of a table's vectors decode to."""
    kinds = {kind: getattr(table, kind) for kind in ("image", "text", "fused")}
    return replace(table, **{kind: encode(v, view).decode() for kind, v in kinds.items()})
