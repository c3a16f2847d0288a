"""How training fails: with the reason in a line, and a folder that is whole or as it was."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from pingraph.errors import PinGraphError
from pingraph.interrupts import Uninterrupted
from pingraph.run_files import CHECKPOINT_FILE


@contextmanager
def clean_failure(folder: Path, args: list[str]) -> Iterator[None]:
    """Run a training whose failure is told in a line and leaves no run without a checkpoint.

    Args:
        folder: the run folder. Where training fails before its first checkpoint, what it wrote
            there is removed.
        args: those of `pingraph fit`, to tell how to go on after an interruption.

    Raises:
        PinGraphError: for one from a data-loader worker, with its message alone; where the
            operating system refuses to read or write; and where a worker was killed.
        KeyboardInterrupt: Ctrl-C, or SIGTERM; its message says how to go on.
    """
    checkpoint = folder / CHECKPOINT_FILE
    made = folder  # or the parent that is made on the way
    while not made.parent.exists():
        made = made.parent
    before = _contents(made)
    try:
        yield
    except BaseException as error:
        if not checkpoint.exists():
            _remove_new(made, before)
        if isinstance(error, PinGraphError):
            raise PinGraphError(_own_message(error)) from error
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise PinGraphError(f"cannot train into {folder}: {reason}") from error
        if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
            reason = f"{str(error).strip()} (is memory short?)"
            raise PinGraphError(f"{reason}; {_how_to_go_on(checkpoint, args)}") from error
        if isinstance(error, SystemExit):  # from Lightning, when it has saved what it can
            raise KeyboardInterrupt(f"interrupted; {_how_to_go_on(checkpoint, args)}") from error
        raise


class WholeSteps(Callback):
    """Lets Ctrl-C wait for the end of a step: training could not go on exactly from half of one."""

    def __init__(self) -> None:
        self._step = Uninterrupted()

    def on_train_batch_start(self, *_: Any) -> None:
        """Begin to hold Ctrl-C back."""
        self._step.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came."""
        self._step.__exit__(None)


def _own_message(error: PinGraphError) -> str:
    """Return a message without the traceback that torch puts around one of a worker process."""
    message = str(error)
    if not message.startswith("Caught "):
        return message
    return message.splitlines()[-1].partition(": ")[2]


def _how_to_go_on(checkpoint: Path, args: list[str]) -> str:
    if not checkpoint.exists():
        return "there is no checkpoint yet, so nothing is left of the run"
    return "to go on: " + shlex.join(["pingraph", "fit", *args, "--ckpt_path", str(checkpoint)])


def _contents(folder: Path) -> set[Path]:
    return {folder, *folder.rglob("*")} if folder.is_dir() else set()


def _remove_new(folder: Path, before: set[Path]) -> None:
    # The deepest first, so that a folder is empty when its turn comes.
    for path in sorted(_contents(folder) - before, reverse=True):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
