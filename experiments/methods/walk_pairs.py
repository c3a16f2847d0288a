"""What methods that learn an embedding from walks share: their training, and how they are asked.

N pins, B pairs of a batch, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from pingraph.board_sizes import boards_that_tell
from pingraph.errors import PinGraphError
from pingraph.interfaces import Neighbors

if TYPE_CHECKING:
    import scipy.sparse
    from torch import Tensor, nn

    from pingraph.graph import PinBoardGraph

TEMPERATURE = 0.07
STEPS, PASSES = 600, 10  # of a training whose length is not given
_AT_ONCE = 1024  # pins embedded at once
_CATEGORIES = 2**24  # of which `torch.multinomial` can draw


def train_on_walks(
    embed: Callable[[np.ndarray, float], Tensor],
    parameters: Iterable[nn.Parameter],
    found: Neighbors,
    graph: PinBoardGraph,
    trained: np.ndarray,
    *,
    steps: int | None,
    batch_size: int,
    learning_rate: float,
    dropout: float,
) -> None:
    """Bring pins near the pins that walks lead to, by Adam.

    A pair is drawn as often as a walk from one leads to the other; negatives are the others of the
    batch but for those with a shared board that tells (softmax, temperature 0.07). As `pingraph
    fit` does, it trains longer where there are many pins, and hides less where each is seen a few
    times only.

    Args:
        embed: unit vectors [pins, D] of pins, a share of whose features is hidden.
        parameters: that are trained.
        found: the neighbors of all N pins, by their share of the visits.
        graph: of the training edges.
        trained: int64, the pins of the data set among the N that are trained on.
        steps: of the optimizer; if not given 600, or 10 passes over the pins where that is more.
        batch_size: pairs B of a step.
        learning_rate: of Adam.
        dropout: share that is hidden, as of `HiddenNumbers`.

    Raises:
        PinGraphError: no pin has a neighbor.
    """
    import torch

    from pingraph.encoders.hiding import HiddenNumbers, hide_for

    rows, columns = np.nonzero(found.mask)
    walked = len(np.unique(rows))
    if not walked:
        raise PinGraphError("no walk leads from a pin to another: there is nothing to train on")
    if steps is None:
        steps = max(STEPS, math.ceil(PASSES * walked / batch_size))
    hidden = HiddenNumbers(dropout)
    hide_for(hidden, passes=steps * batch_size / walked)
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    weights = torch.from_numpy(found.weights[rows, columns])
    boards = graph.incidence().tocsc()[:, boards_that_tell(graph, trained)].tocsr()
    for _ in range(steps):
        drawn = _drawn(weights, batch_size)
        pins, others = rows[drawn], found.ids[rows[drawn], columns[drawn]]
        anchors, positives = embed(np.concatenate([pins, others]), hidden.p).chunk(2)
        loss = _contrast(anchors @ positives.T / TEMPERATURE, pins, others, boards)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _drawn(weights: Tensor, count: int) -> np.ndarray:
    """Draw places of weights [P], int64 [count]; none twice, where there are enough of them."""
    import torch

    if len(weights) < _CATEGORIES:
        return torch.multinomial(weights, count, replacement=len(weights) < count).numpy()
    sums = weights.double().cumsum(0)
    drawn = torch.searchsorted(sums, torch.rand(count, dtype=torch.float64) * sums[-1], right=True)
    return drawn.clamp(max=len(weights) - 1).numpy()


def embed_all(embed: Callable[[np.ndarray], Tensor], count: int) -> np.ndarray:
    """Embed pins 0 … count - 1, some at a time, and return their vectors, float32 [count, D]."""
    import torch

    with torch.inference_mode():
        parts = np.array_split(np.arange(count), -(-count // _AT_ONCE))
        return torch.cat([embed(part) for part in parts]).numpy()


def _contrast(
    logits: Tensor, pins: np.ndarray, others: np.ndarray, boards: scipy.sparse.csr_array
) -> Tensor:
    """Return the softmax loss of pairs (int64 [B] twice), board-mates no negatives of each other.

    Args:
        logits: [B, B] of the pins and those they are paired with.
        pins: the first of each pair.
        others: the second of each.
        boards: [N, boards], who is on which of those that tell.
    """
    import torch

    known = (boards[pins] @ boards[others].T).toarray() > 0
    known |= (pins[:, None] == others) | (others[:, None] == others)
    np.fill_diagonal(known, False)
    masked = logits.masked_fill(torch.from_numpy(known), -torch.inf)
    return torch.nn.functional.cross_entropy(masked, torch.arange(len(pins)))
