"""The hub of pretrained models where it cannot be reached: its library tries each file for 20 s."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from time import monotonic
from urllib.parse import urlsplit
from urllib.request import getproxies

_SECONDS = 5  # to be connected within
_SILENT = 60  # seconds, for which one that did not answer is not asked again: a model has parts
_connected: set[str] = set()  # addresses
_silent_until: dict[str, float] = {}  # of each address that was asked, by `monotonic`


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


def _answers(address: str) -> bool:
    """Return whether a web address can be connected to in time, or is left to a proxy."""
    parts = urlsplit(address)
    if address in _connected or getproxies().keys() & {parts.scheme, "all"}:
        return True
    if monotonic() < _silent_until.get(address, 0):
        return False
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    # A time limit of the socket's would be for each address of the host, and none for its name.
    asking = Thread(target=_connect, args=(address, parts.hostname or "", port), daemon=True)
    asking.start()
    asking.join(_SECONDS)
    _silent_until[address] = monotonic() + _SILENT
    return address in _connected


def _connect(address: str, host: str, port: int) -> None:
    with suppress(OSError):
        socket.create_connection((host, port), timeout=_SECONDS).close()
        _connected.add(address)
