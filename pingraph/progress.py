"""The bar of long work that is made of steps, on standard error; lines where that is a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    total: int, *, done: int = 0, lines: bool = False
) -> Iterator[Callable[[str], None]]:
    """Yield a function to call before each step, with what it is about.

    The bar is shown where standard error is a terminal, and is gone at the end.

    Args:
        total: steps.
        done: how many of them were done before.
        lines: write a line before each step where standard error is no terminal, for work of
            hours whose output goes to a file.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total, completed=done)
        begun = done

        def step(what: str) -> None:
            nonlocal begun
            progress.update(task, completed=begun, description=what)
            begun += 1
            if lines and not console.is_terminal:
                print(f"[{begun}/{total}] {what}", file=sys.stderr, flush=True)

        yield step
