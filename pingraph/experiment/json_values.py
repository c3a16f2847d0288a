"""Checks that an experiment's file holds nothing that a cell's JSON could not keep."""

from __future__ import annotations

import math
from typing import Any

from pingraph.errors import PinGraphError


def check_json(where: str, value: Any) -> None:
    """Check that JSON can keep a value as it is.

    Args:
        where: the file and key that it stands at, for messages.
        value: of a YAML file.

    Raises:
        PinGraphError: there is something else in it, such as a date, or a key that is no text.
    """
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                raise PinGraphError(f"{where} has the key {key!r}: expected text, in quotes")
            check_json(f"{where}.{key}", one)
    elif isinstance(value, list):
        for place, one in enumerate(value):
            check_json(f"{where}[{place}]", one)
    elif not isinstance(value, str | int | float | None) or not _finite(value):
        expected = "text (in quotes), a finite number, true, false, null, a list or keys"
        raise PinGraphError(f"{where} is {value!r}: expected {expected}")


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
