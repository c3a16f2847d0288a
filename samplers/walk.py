"""A walk of one's own: a step, an acceptance or a score in plain Python, at full speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pingraph.errors import PinGraphError
from pingraph.samplers.hooks import Uniform, Walk
from pingraph.samplers.keeping import kept_with
from pingraph.samplers.tables import whole
from pingraph.samplers.user_functions import check_function, compiled
from pingraph.samplers.walking import Rules, WalkingSampler

if TYPE_CHECKING:
    from pingraph.graph import PinBoardGraph


@dataclass(frozen=True, kw_only=True)
class WalkSampler(WalkingSampler):
    """The pins that walks of your own rules visit most; the default rules are PinSAGE's.

    Each of the functions is plain Python that numba can compile, and stands in a module, so that
    other processes find it. `walk` has the fields of `pingraph.samplers.hooks.Walk`: `graph` (the
    arrays of the graph), `data`, `seed`, `previous`, `pin`, `board` and `step`. Random numbers come
    from the 64 random bits of `word` alone: `pick(word, n)` returns a uniform index 0 … n-1 and a
    word for the next pick, `draw(word, i)` as many fresh words as wanted, i = 0, 1, …; both are in
    `pingraph.samplers.randomness`.

    Args:
        k: neighbors of a seed, at most.
        num_walks: walks from each seed.
        walk_length: traversals pin → board → pin of a walk, at most.
        restart_probability: in [0, 1), the probability to stop after a traversal.
        num_threads: threads that share the seeds of a call. It does not change the result.
        step: step(walk, start, end, word) returns which edge is taken: a place, start to end - 1,
            in `walk.graph.pin_boards` while `walk.board` is -1, then in `walk.graph.board_pins`; or
            -1 to end the walk. By default uniform.
        accept: accept(walk, pin) returns the probability that the traversal from `walk.pin` over
            `walk.board` to `pin` is made; else another one is proposed from `walk.pin`, up to 1,000
            times, then the walk ends. By default all are accepted.
        score: score(walk, pin, visits) returns what a visited pin is ranked and weighted by; only
            `graph`, `data` and `seed` of this walk mean anything. A pin whose score is NaN or not
            above 0 is left out. By default its visits.
        data: data(graph) returns arrays or numbers, or a tuple of some, that the functions find in
            `walk.data`; called once in the life of a graph.

    Raises:
        PinGraphError: an argument is out of its range, or a function takes other arguments; when it
            is first used, that numba cannot compile it, with its file, line and reason; in a call,
            that `step` left the row, `accept` returned no number from 0 to 1 or `score` one that
            float32 cannot hold, with the pin.
    """

    step: Callable | None = None
    accept: Callable | None = None
    score: Callable | None = None
    data: Callable | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for role in ("step", "accept", "score"):
            check_function(role, getattr(self, role))
        if self.data is not None and not callable(self.data):
            raise PinGraphError(f"data is {self.data!r}; expected a function data(graph)")

    def rules(self, graph: PinBoardGraph) -> Rules:
        """Return the compiled functions; raises PinGraphError where one cannot be compiled."""
        return kept_with(graph, self._compiled)

    def _compiled(self, graph: PinBoardGraph) -> Rules:
        arrays = whole(graph)
        data = () if self.data is None else self.data(graph)
        walk = Walk(arrays, data, 0, 0, 0, 0, 0, 0)
        return Rules(
            arrays,
            compiled("step", self.step, walk) or Uniform(),
            compiled("accept", self.accept, walk),
            compiled("score", self.score, walk),
            data,
            from_user=True,
        )
