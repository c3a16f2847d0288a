"""Ctrl-C that waits for the end of what must not be cut in two."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Uninterrupted:
    """Holds Ctrl-C back until the block ends; the second one in a block does not wait.

    In other threads than the main one, to which Ctrl-C goes, it does nothing.
    """

    def __enter__(self) -> None:
        """Hold Ctrl-C back from here on."""
        self._asked = False
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._handler = signal.signal(signal.SIGINT, self._hold)

    def __exit__(self, kind: Any, *_: Any) -> None:
        """Do what Ctrl-C does, mostly raise KeyboardInterrupt, if it came."""
        if not self._main:
            return
        signal.signal(signal.SIGINT, self._handler)
        if self._asked and kind is None and callable(self._handler):
            self._handler(signal.SIGINT, None)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self._asked and callable(self._handler):
            self._handler(number, frame)
        self._asked = True
