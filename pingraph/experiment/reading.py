"""Reads an experiment's YAML file: no key twice, and nothing that a cell's JSON could not keep."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from pingraph.errors import PinGraphError


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        PinGraphError: it is missing or no YAML, or has a key twice, of which YAML would keep the
            last without a word; names the file, the key and both lines.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Once)
    except PinGraphError as error:
        raise PinGraphError(f"{path}: {error}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).replace("\n", " ")
        raise PinGraphError(f"{path}: cannot be read as YAML ({reason})") from error


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


class _Once(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1  # as text: 1 and "1" are alike
            if name in first:
                raise PinGraphError(f"line {line}: the key {name!r} is in line {first[name]} too")
            first[name] = line
        return node
