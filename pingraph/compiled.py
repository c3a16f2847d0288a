"""Compiles kernels with numba, in a cache on disk that many processes may fill at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile


def njit(function: Callable | None = None, *, cache: bool = False, **options: Any) -> Any:
    """Compile a function as `numba.njit` does, which also takes the other options.

    Args:
        function: the function; None returns a decorator.
        cache: keep what was compiled on disk. numba numbers the files of a function's signatures by
            an index that it reads and writes without a lock. Two processes that compile two of them
            at once may give both one number: then the code of one is loaded for the other, by every
            process from then on. Here they wait for each other.
    """
    compiled = numba.njit(cache=cache, **options)
    made = compiled if function is None else compiled(function)
    if not cache or numba.config.DISABLE_JIT:
        return made
    return _locked(made) if function is not None else lambda one: _locked(made(one))


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
        import fcntl

        try:
            handle = os.open(f"{self._index_path}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # no folder yet, or one that is only read: nobody writes
            yield
            return
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            # Not by closing alone: a process forked meanwhile has the file open too.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)
