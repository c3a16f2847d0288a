"""Hashes arrays by what they hold, not by how they happen to be stored."""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np


def fingerprint(arrays: Mapping[str, np.ndarray | None]) -> str:
    """Return the sha256 (hex) of named arrays; None counts as absent.

    String arrays of the same strings hash alike, however wide their dtype is.
    """
    digest = hashlib.sha256()
    for name, array in arrays.items():
        if array is not None:
            kind = "U" if array.dtype.kind == "U" else array.dtype.str
            digest.update(f"{name} {kind} {array.shape}\n".encode())
            for part in _parts(array):
                digest.update(part)
    return digest.hexdigest()


def hash_texts(*texts: str) -> str:
    """Return the sha256 (hex) of texts, which tells where one ends and the next begins."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d\n" % len(data))
        digest.update(data)
    return digest.hexdigest()


def _parts(array: np.ndarray) -> Iterator[bytes | memoryview]:
    if array.dtype.kind != "U":
        yield np.ascontiguousarray(array).view(np.uint8).data
        return
    for start in range(0, len(array), 65536):
        strings = array[start : start + 65536].tolist()
        yield "\0".join([*strings, ""]).encode("utf-8", "surrogatepass")
