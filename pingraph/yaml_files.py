"""Reads YAML that people write: whatever is wrong is one line, with the file and the line of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pingraph.errors import PinGraphError


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file in UTF-8.

    Raises:
        PinGraphError: it cannot be read, is in another encoding or no YAML, or has a key twice;
            names the file and the line.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise PinGraphError(f"{path}: {error.strerror}") from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"line {line}: byte 0x{raw[error.start]:02x} is no UTF-8"
        raise PinGraphError(f"{path}: {found}: expected a text file in UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Return what a YAML text holds.

    Args:
        text: the text.
        source: the file or option that it comes from, for messages.

    Raises:
        PinGraphError: it is no YAML, or has a key twice, of which YAML would keep the last without
            a word; names the source, the line and the key.
    """
    try:
        return yaml.load(text, Loader=_Once)
    except PinGraphError as error:
        raise PinGraphError(f"{source}: {error}") from None
    except (ValueError, yaml.YAMLError) as error:  # ValueError: of a date that there is not
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise PinGraphError(f"{source}: not YAML: {place}{reason}") from error


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
