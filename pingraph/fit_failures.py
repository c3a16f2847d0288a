"""How training fails: with the reason in a line, and a folder that is whole or as it was."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.multiprocessing import ProcessRaisedException

from pingraph.errors import PinGraphError
from pingraph.interrupts import Uninterrupted
from pingraph.run_files import CHECKPOINT_FILE


@contextmanager
def clean_failure(folder: Path, args: list[str], *, alone: bool = True) -> Iterator[None]:
    """Run a training whose failure is told in a line and leaves no run without a checkpoint.

    Args:
        folder: the run folder. Where training fails before its first checkpoint, what it wrote
            there is removed.
        args: those of `pingraph fit`, to tell how to go on after an interruption.
        alone: keep other trainings out of the folder meanwhile; not for a rank that joins one.

    Raises:
        PinGraphError: another training writes to the folder; for one from a data-loader worker or
            another rank, with its message alone; where the operating system refuses to read or
            write; and where a worker was killed.
        KeyboardInterrupt: Ctrl-C, or SIGTERM; its message says how to go on.
    """
    try:
        with _whole_or_as_it_was(folder, alone):
            yield
    except BaseException as error:
        told = _told(error, folder, args)
        if told is None:
            raise
        raise told from error


class WholeSteps(Callback):
    """Lets Ctrl-C wait for the end of a step: training could not go on exactly from half of one."""

    def __init__(self) -> None:
        self._step = Uninterrupted()

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin to hold Ctrl-C back with the first batch of a step."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._step.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raise KeyboardInterrupt after the last one if Ctrl-C came."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._step.__exit__(None)


class RanksEndTogether(Callback):
    """Lets a rank that another process started end at once when it is told to.

    It is told when another rank has failed. Lightning would wait for that one in a broadcast, and
    what comes of it is printed where the rank is about to tell of a failure of its own.
    """

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Take back the handler of SIGTERM that Lightning has just set."""
        if trainer.world_size > 1 and multiprocessing.parent_process() is not None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _whole_or_as_it_was(folder: Path, alone: bool) -> Iterator[None]:
    missing = [one for one in folder.parents if not one.exists()]  # the deepest first
    before = _contents(folder)
    with _held(folder) if alone else nullcontext():
        try:
            yield
        except BaseException:
            if not (folder / CHECKPOINT_FILE).exists():
                _remove_new(folder, before)
                for parent in missing:
                    with suppress(OSError):  # there may be a run of another training in it
                        parent.rmdir()
            raise


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder against other trainings; the lock of a process that was killed is gone.

    The folder itself, other than `files.held_while_open`, so that no lock file is left in a run.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PinGraphError(
                f"{folder}: another training writes to it, choose another folder by "
                "--trainer.default_root_dir"
            ) from error
        except OSError:
            pass  # a file system that knows no locks of folders
        yield
    finally:
        os.close(handle)


def _told(error: BaseException, folder: Path, args: list[str]) -> BaseException | None:
    """Return the error in a line, or None for one that nobody foresaw."""
    if isinstance(error, PinGraphError | ProcessRaisedException) and (own := _own_message(error)):
        return PinGraphError(own)
    if isinstance(error, OSError):
        return PinGraphError(f"cannot train into {folder}: {error.strerror or error}")
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
        reason = f"{str(error).strip()} (is memory short?)"
        return PinGraphError(f"{reason}; {_how_to_go_on(folder, args)}")
    if isinstance(error, SystemExit):  # from Lightning, when it has saved what it can
        return KeyboardInterrupt(f"interrupted; {_how_to_go_on(folder, args)}")
    return None


def _own_message(error: BaseException) -> str:
    """Return an error of ours without the traceback of another process around it, if it is one."""
    message = str(error).strip()
    if not message.startswith(("Caught ", "-- Process ")):
        return message
    name, _, own = message.splitlines()[-1].partition(": ")
    return own if name.startswith("pingraph.") else ""


def _how_to_go_on(folder: Path, args: list[str]) -> str:
    checkpoint = folder / CHECKPOINT_FILE
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
