"""Runs `pingraph` as a process and keeps what it wrote to both streams."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT

SCRIPT = Path(sys.executable).with_name("pingraph")
TINY = [  # an encoder and batches that train in a second
    "--model.encoder.backbone.dim=16",
    "--model.encoder.backbone.lexicon=none",
    "--model.encoder.features=[]",
    "--model.encoder.embed_dim=16",
    "--data.batch_size=16",
]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended."""

    status: int
    out: str
    err: str

    def refusal(self) -> str:
        """Return the error, having checked that it is one: short, plain, the only thing said."""
        assert self.status == 2, (self.status, self.out, self.err)
        shown = "\n".join(line.rpartition("\r")[2] for line in self.err.splitlines())
        error = shown[shown.index("error: ") :]
        assert len(error.splitlines()) <= 12, error
        for noise in ("Traceback", "<class", "object at 0x", 'File "', "Warning"):
            assert noise not in self.err, self.err
        return error


class CommandServer:
    """Starts command lines as forks of a process that has imported everything."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("command_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        )

    def run(self, *args, cwd=None, path=(), stdout=None, ready=None, signal=SIGINT) -> Ended:
        """Run a command line to its end.

        Args:
            args: what follows `pingraph`.
            cwd: the folder it runs in.
            path: folders of PYTHONPATH.
            stdout: a file for standard output, instead of one that is read.
            ready: returns when `signal` is to be sent.
            signal: its number; Ctrl-C goes to the workers too, as in a terminal.
        """
        streams = {"stdin": os.devnull, "stdout": str(stdout or self.folder / "out")}
        streams["stderr"] = str(self.folder / "err")
        for name in ("out", "err"):
            (self.folder / name).write_bytes(b"")
        job = {"args": [str(arg) for arg in args], "cwd": str(cwd or self.folder)}
        job |= {"path": [str(folder) for folder in path], **streams}
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        process = int(self.server.stdout.readline())
        if ready is not None:
            ready()
            (os.killpg if signal == SIGINT else os.kill)(process, signal)
        status = int(self.server.stdout.readline())
        out, err = ((self.folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return Ended(status=status, out=out, err=err)

    def until(self, text: str) -> Callable[[], None]:
        """Return what waits until standard error holds a text."""

        def wait():
            for _ in range(1200):
                if text in (self.folder / "err").read_text(encoding="utf-8"):
                    return
                time.sleep(0.05)
            raise AssertionError(f"{text!r} was not written within a minute")

        return wait

    def close(self) -> None:
        """End the server."""
        self.server.stdin.close()
        self.server.wait()


def start(*args, cwd=None, env=None, timeout=120) -> Ended:
    """Run the installed `pingraph` as a shell would."""
    ended = subprocess.run(
        [SCRIPT, *map(str, args)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        capture_output=True,
        timeout=timeout,
        encoding="utf-8",
    )
    return Ended(status=ended.returncode, out=ended.stdout, err=ended.stderr)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return all files below a folder with their bytes, and its folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
