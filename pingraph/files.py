"""Writing that is all or nothing: a temporary name beside the target, then one rename."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pingraph.errors import PinGraphError


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an exception.

    Raises:
        PinGraphError: the folder cannot be made or written, or the disk is full. The file that
            stood at `path` before, if any, is then untouched. Or `path` is no regular file, such
            as a device: a rename would put a file in its place, for everybody on the machine.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise PinGraphError(f"cannot write {path}: it is not a regular file")
    with _named_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends without an exception.

    Raises:
        PinGraphError: `path` exists and is not an empty folder, or cannot be written.
    """
    path = Path(path)
    with _named_os_errors(path):
        check_new_folder(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            if path.exists():
                path.rmdir()
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_new_folder(path: Path) -> None:
    """Check that nothing is overwritten, before long work for a folder begins.

    Raises:
        PinGraphError: `path` exists and is not an empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise PinGraphError(f"{path}: already exists; give the name of a new or empty folder")


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Wait until no other process makes a file or folder; the lock of one that was killed is gone.

    Raises:
        PinGraphError: its folder cannot be written.
    """
    import fcntl

    with _named_os_errors(path):
        handle = _lock_file(path)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        # Not by closing alone: a process forked meanwhile has the file open too.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


@contextmanager
def held_while_open(path: Path) -> Iterator[int | None]:
    """Hold a file or folder until this process and all that inherit the lock have closed it.

    Yields:
        The lock's file descriptor, to be inherited; None if another process holds it.

    Raises:
        PinGraphError: its folder cannot be written.
    """
    import fcntl

    with _named_os_errors(path):
        handle = _lock_file(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
    try:
        yield handle if free else None
    finally:
        os.close(handle)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused (not JSON)."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        PinGraphError: the file is missing, unreadable or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PinGraphError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise PinGraphError(f"{path}: not a JSON file ({error})") from error


def read_tensors(
    path: Path, *, form: str, version: str, what: str
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the metadata and the NumPy arrays of a safetensors file.

    Args:
        path: the file.
        form: the "format" that its metadata must name.
        version: likewise.
        what: what it is, for messages.

    Raises:
        PinGraphError: the file is missing, damaged, or of another format or version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise PinGraphError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise PinGraphError(f"{path}: damaged, or no {what} ({error})") from error
    if metadata.get("format") != form or metadata.get("version") != version:
        found = f"{metadata.get('format')} version {metadata.get('version')}"
        raise PinGraphError(f"{path}: {found}, expected {form} version {version}")
    return metadata, arrays


def _lock_file(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)


@contextmanager
def _named_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise PinGraphError(f"cannot write {path}: {reason}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
