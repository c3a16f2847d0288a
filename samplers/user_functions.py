"""Compiles the functions of a user's walk, and says in the user's words why one cannot be."""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from numba import typeof, types

from pingraph.compiled import njit
from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    from pingraph.samplers.hooks import Walk


class Role(NamedTuple):
    """What a function of the user is called with, and has to return."""

    usage: str
    arguments: tuple[types.Type, ...]  # after the walk
    returns: tuple[type[types.Type], ...]
    wanted: str


ROLES = {
    "step": Role(
        "step(walk, start, end, word)",
        (types.int64, types.int64, types.uint64),
        (types.Integer,),
        "a whole number: the place of an edge, start to end - 1, or -1 to end the walk",
    ),
    "accept": Role(
        "accept(walk, pin)",
        (types.int64,),
        (types.Float, types.Integer, types.Boolean),
        "a number: the probability that the traversal is made",
    ),
    "score": Role(
        "score(walk, pin, visits)",
        (types.int64, types.int64),
        (types.Float, types.Integer),
        "a number: the higher, the better",
    ),
}
ROLES["bias"] = ROLES["accept"]._replace(usage="bias(walk, pin)")  # Pixie's word for it


def check_function(role: str, function: Any) -> None:
    """Raise a PinGraphError unless `function` is None or can be called as its role wants it."""
    if function is None:
        return
    usage, arguments, _, _ = ROLES[role]
    plain = _plain(function)
    if not inspect.isfunction(plain):
        raise PinGraphError(f"{role} is {function!r}; expected a function {usage}")
    try:
        inspect.signature(plain).bind("walk", *arguments)
    except TypeError as error:
        raise PinGraphError(
            f"{_name(role, plain)}: expected the arguments of {usage}: {error}"
        ) from None


def compiled(role: str, function: Callable | None, walk: Walk) -> Any:
    """Return the compiled function, or None for None.

    Args:
        role: one of `ROLES`.
        function: a plain Python function, or one that numba has compiled.
        walk: a walk of the kind that it will be called with.

    Raises:
        PinGraphError: numba cannot compile it, or it returns something else than its role wants.
            Names the function, the file, the line and what it found.
    """
    if function is None:
        return None
    plain = _plain(function)
    dispatcher = _dispatcher(plain)
    try:
        dispatcher.compile((typeof(walk), *ROLES[role].arguments))
    except Exception as error:  # besides its own, numba lets through what it stumbles over
        raise PinGraphError(_explained(role, plain, str(error), walk)) from error
    found = dispatcher.nopython_signatures[-1].return_type
    if not isinstance(found, ROLES[role].returns):
        raise PinGraphError(f"{_name(role, plain)}: returns {found}; expected {ROLES[role].wanted}")
    return dispatcher


@cache
def _dispatcher(function: Callable) -> Any:
    return njit(forceinline=True)(function)


def _plain(function: Any) -> Any:
    return getattr(function, "py_func", function)


def _name(role: str, function: Callable, line: int = 0) -> str:
    code = function.__code__
    return f"{role} {function.__name__} ({code.co_filename}, line {line or code.co_firstlineno})"


def _explained(role: str, function: Callable, message: str, walk: Walk) -> str:
    """Return one line out of numba's many: where in the user's file, what is there, what is wrong.

    numba names the place as 'File "x.py", line 3:' or as 'x.py (3)', the innermost last.
    """
    path = function.__code__.co_filename
    name = re.escape(re.split(r"[/\\]", path)[-1])
    places = re.findall(rf'{name}", line (\d+)|{name} \((\d+)\)', message)
    line = int(max(places[-1])) if places else function.__code__.co_firstlineno
    lines = [part.strip() for part in message.splitlines()]
    telling = [part for part in lines if part and not part.startswith(("Failed in", "During"))]
    reason = telling[0] if telling else "numba does not say why"
    signature = next((part for part in telling if part.startswith(">>> ")), "")
    names = function.__code__.co_names
    missing = [
        what
        for what, array in (("weights", walk.graph.pin_weights), ("times", walk.graph.pin_times))
        if array is None and {f"pin_{what}", f"board_{what}"} & set(names)
    ]
    reason = re.sub(r"\b(GraphArrays|Walk)\(.*\)", r"\1", f"{reason} {signature[4:]}".strip())
    return (
        f"{_name(role, function, line)} cannot be compiled by numba: "
        f"`{linecache.getline(path, line).strip()}`: {reason}"
        + "".join(f"; this graph has no edge {what}" for what in missing)
    )
