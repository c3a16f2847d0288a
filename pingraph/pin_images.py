"""The encoded images of a data set: found, decoded, and named by their pin when they are broken."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa

from pingraph.errors import PinGraphError
from pingraph.tables import is_bytes, is_text, lengths, require_type

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")


class BrokenImageError(PinGraphError):
    """The image of a pin cannot be read; the message names the pin."""


class PinImages:
    """The column `image` of pins.parquet: encoded bytes, or paths of files.

    A path is relative to the folder and may not leave it by `..`; an absolute path is taken as it
    is. Null and empty values are pins without image, as is a table without the column.

    Args:
        table: pins.parquet as read.
        pin_ids: the id of each row, for messages.
        folder: the folder of the data set.

    Raises:
        PinGraphError: the column holds neither bytes nor strings.
    """

    def __init__(self, table: pa.Table, pin_ids: np.ndarray, folder: Path):
        self.pin_ids = pin_ids
        self.folder = folder
        named = "image" in table.column_names
        if named and not pa.types.is_null(table.schema.field("image").type):
            path = folder / "pins.parquet"
            require_type(table, "image", path, _is_image, "encoded bytes or paths as strings")
            self.column = table.column("image")
        else:
            self.column = pa.chunked_array([pa.nulls(len(table), pa.binary())])
        self.present = lengths(self.column) > 0  # bool [N]

    def decode(self, pin: int, finish: Callable[[Image.Image], T]) -> T | None:
        """Open the image of a pin and return what `finish` makes of it, or None without image.

        Raises:
            BrokenImageError: the image cannot be read, or `finish` cannot decode it.
        """
        from PIL import UnidentifiedImageError

        from pingraph.images import open_image

        if not self.present[pin]:
            return None
        try:
            return finish(open_image(self._source(pin)))
        except (BrokenImageError, NameError, ImportError):
            raise  # the latter two are mistakes of a program, and no image is to blame
        except UnidentifiedImageError as error:  # its message names a memory address
            raise self._broken(pin, "no image of a known format") from error
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise self._broken(pin, reason) from error
        # On damaged bytes Pillow's decoders raise almost anything: SyntaxError, struct.error, …
        except Exception as error:
            raise self._broken(pin, str(error) or type(error).__name__) from error

    def key(self, pin: int) -> bytes | int:
        """Return what is equal for images that are the same to the byte; the pin must have one.

        A file that cannot be read is like no other.
        """
        try:
            source = self._source(pin)
            data = source.read_bytes() if isinstance(source, Path) else source
        except (OSError, ValueError):
            return int(pin)
        return hashlib.blake2b(data, digest_size=16).digest()

    def file_sizes(self) -> np.ndarray:
        """Return the size of each image file in bytes, int64, -1: missing; [] of encoded bytes."""
        if is_bytes(self.column.type):
            return np.zeros(0, np.int64)
        pictured = np.flatnonzero(self.present).tolist()
        return np.array([self._file_size(pin) for pin in pictured], np.int64)

    def _file_size(self, pin: int) -> int:
        try:
            return self._path(pin, self.column[pin].as_py()).stat().st_size
        except (OSError, ValueError):
            return -1

    def _source(self, pin: int) -> bytes | Path:
        value = self.column[int(pin)].as_py()
        return value if isinstance(value, bytes) else self._path(pin, value)

    def _path(self, pin: int, value: str) -> Path:
        path = Path(value)
        if ".." in path.parts:
            raise self._broken(pin, f"the path {value!r} leaves the folder")
        return path if path.is_absolute() else self.folder / path

    def _broken(self, pin: int, reason: str) -> BrokenImageError:
        named = f"{self.folder / 'pins.parquet'}: pin {np.asarray(self.pin_ids[pin]).item()!r}"
        return BrokenImageError(
            f"{named}: image cannot be decoded ({(reason.splitlines() or ['damaged'])[0]})"
        )


def _is_image(kind: pa.DataType) -> bool:
    return is_bytes(kind) or is_text(kind)
