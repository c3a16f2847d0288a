"""The hub of pretrained models where it cannot be reached: its library tries each file for 20 s."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

_SECONDS = 5  # to be connected within


@contextmanager
def cache_alone_without_hub(name: str) -> Iterator[None]:
    """Let the hub's library look into its cache alone, as with HF_HUB_OFFLINE=1, if none answers.

    A name tells nothing: `bert-base-uncased` is one on the hub too, so a wrong folder is only known
    when the hub was asked.

    Args:
        name: a folder, for which nobody is asked, or a name on the hub.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    known = before or Path(name).is_dir()
    constants.HF_HUB_OFFLINE = before if known else not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@functools.cache
def _answers(address: str) -> bool:
    """Return whether a web address can be connected to, or is left to a proxy."""
    parts = urlsplit(address)
    if getproxies().keys() & {parts.scheme, "all"}:
        return True
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_SECONDS).close()
    except OSError:
        return False
    return True
