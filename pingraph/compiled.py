"""Compiles kernels with numba, in a cache on disk that many processes may fill at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile
from numba.core.dispatcher import Dispatcher

from pingraph.errors import PinGraphError
from pingraph.files import only_one


def njit(function: Callable | None = None, *, cache: bool = False, **options: Any) -> Any:
    """Compile a function as `numba.njit` does, which also takes the other options.

    Args:
        function: the function; None returns a decorator.
        cache: keep what was compiled on disk. numba numbers the files of a function's signatures by
            an index that it reads and writes without a lock. Two processes that compile two of them
            at once may give both one number: then the code of one is loaded for the other, by every
            process from then on. Here they wait for each other.
    """
    if function is None:
        return lambda given: njit(given, cache=cache, **options)
    made = numba.njit(cache=cache, **options)(function)
    return _locked(made) if cache and isinstance(made, Dispatcher) else made


def _locked(dispatcher: Any) -> Any:
    cache = dispatcher._cache
    file = cache._cache_file
    cache._cache_file = _LockedFile(
        cache_path=file._cache_path,
        filename_base=cache._impl.filename_base,
        source_stamp=file._source_stamp,
    )
    return dispatcher


class _LockedFile(IndexDataCacheFile):
    """The index of a function and its data files, read and written by one process at a time."""

    def save(self, key: Any, data: Any) -> None:
        with self._alone():
            super().save(key, data)

    def load(self, key: Any) -> Any:
        with self._alone():
            return super().load(key)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with ExitStack() as held:
            with suppress(PinGraphError):  # of a folder that is only read nothing changes
                held.enter_context(only_one(Path(self._index_path)))
            yield
