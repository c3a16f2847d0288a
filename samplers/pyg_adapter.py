"""Our samplers as a PyG `BaseSampler`: `NodeLoader` and `LinkLoader` train on their neighbors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)

from pingraph.errors import PinGraphError
from pingraph.interfaces import Sampler
from pingraph.samplers.torch_hops import HopSampler, to_hop
from pingraph.samplers.torch_randomness import draw, epoch_key, pick, shift_right

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data

    from pingraph.graph import PinBoardGraph

_NO_EDGE = 2**40  # added to the bits of a weight: no table of edges has such a row
_STREAM = int.from_bytes(b"pyglink", "big")  # in the address of a negative, in place of a pin


class PyGSampler(HopSampler, BaseSampler):
    """Gives PyG's loaders batches of pins, each with the neighbors that a sampler finds for it.

    For the node numbers of the batch, its seeds come first, then the pins of each hop as they are
    found. Each pin is sampled once, at the hop after the one that found it, as PyG's own
    `NeighborSampler` does it. Edges go from a neighbor to the pin whose neighbor it is; the
    loader's `transform=edge_weight` puts their weights into the batch.

    Source: the protocol of `torch_geometric.sampler.BaseSampler`, torch-geometric 2.8.

    Args:
        graph: the graph to walk on; node i of the loader's `Data` is pin i.
        hops: a sampler for each hop, the one around the seeds first.
        seed: the random seed, 0 to 2⁶⁴ - 1, of the walks and of a `LinkLoader`'s negatives.

    Raises:
        PinGraphError: there is no hop, one is no sampler, or the seed is out of range.
    """

    def __init__(self, graph: PinBoardGraph, hops: Sequence[Sampler], *, seed: int):
        HopSampler.__init__(self, graph, hops, seed=seed)

    def sample_from_nodes(self, index: NodeSamplerInput, **kwargs) -> SamplerOutput:
        """Return the neighborhood of the nodes of a `NodeLoader`'s batch.

        A repeated seed keeps a place for each time, with edges of its own.

        Raises:
            PinGraphError: the nodes have a type or times, or one is not a pin of the graph.
        """
        _refuse(index)
        output = self._sample(index.node.numpy())
        output.metadata = index.input_id, None
        return output

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> SamplerOutput:
        """Return the neighborhood of both ends of the pairs of a `LinkLoader`'s batch.

        Negatives follow PyG's rules: drawn uniformly, or by the weights of `neg_sampling`, so one
        may be a true pair. Unlike PyG's, they are a function of the random seed, the epoch and the
        place of the pair in the loader, whatever the workers.

        Raises:
            PinGraphError: the pairs have a type or times, or an end is not a pin of the graph.
        """
        _refuse(index)
        pairs, label = len(index.row), index.label
        source, target = [index.row], [index.col]
        if neg_sampling is not None:
            count = math.ceil(pairs * neg_sampling.amount)
            target.append(self._negatives(index, neg_sampling, "dst", count))
            if neg_sampling.is_binary():
                source.append(self._negatives(index, neg_sampling, "src", count))
                label = torch.ones(pairs) if label is None else label
                label = torch.cat([label, label.new_zeros((count, *label.shape[1:]))])
        seeds, places = torch.cat(source + target).unique(return_inverse=True)
        output = self._sample(seeds.numpy())
        if neg_sampling is None or neg_sampling.is_binary():
            output.metadata = index.input_id, places.view(2, -1), label, None
        else:
            negative = places[2 * pairs :].view(pairs, -1).squeeze(-1)
            triplets = places[:pairs], places[pairs : 2 * pairs], negative
            output.metadata = index.input_id, *triplets, None
        return output

    def _sample(self, seeds: np.ndarray) -> SamplerOutput:
        nodes, start = seeds, 0
        rows, columns, weights, num_nodes = [], [], [], [len(seeds)]
        for hop in range(len(self.hops)):
            found = to_hop(nodes, self.neighbors(hop, nodes[start:]))
            rows.append(found.sources)
            columns.append(found.targets + start)
            weights.append(found.weights)
            start, nodes = len(nodes), found.nodes
            num_nodes.append(len(nodes) - start)
        return SamplerOutput(
            node=torch.from_numpy(nodes),
            row=torch.from_numpy(np.concatenate(rows)),
            col=torch.from_numpy(np.concatenate(columns)),
            edge=_to_edge_ids(np.concatenate(weights)),
            num_sampled_nodes=num_nodes,
            num_sampled_edges=[len(row) for row in rows],
        )

    def _negatives(
        self, index: EdgeSamplerInput, sampling: NegativeSampling, end: str, count: int
    ) -> Tensor:
        """Return `count` pins: those of a triplet side by side, else a round over the pairs."""
        number, pairs = torch.arange(count), len(index.row)
        pair, turn = number % pairs, number // pairs
        if sampling.is_triplet():
            pair, turn = number // sampling.amount, number % sampling.amount
        ids = pair if index.input_id is None else index.input_id[pair]
        key = draw(draw(epoch_key(self.seed, self.epoch), _STREAM), int(end == "dst"))
        words = draw(draw(key, ids), turn)
        weights = sampling.src_weight if end == "src" else sampling.dst_weight
        if weights is None:
            return pick(words, torch.tensor(self.graph.num_pins))[0]
        return _choose(words, weights, self.graph.num_pins, f"{end}_weight")


def edge_weight(batch: Data) -> Data:
    """Put the weights of the neighbors into a batch; give it to a loader as `transform`.

    PyG looks edge attributes up in the user's data by the ids of the edges, and these edges are in
    no data: so the bits of each weight travel in the place of the id.

    Args:
        batch: what a loader with a `PyGSampler` made.

    Returns:
        The batch with `edge_weight`, float32 [E], and without `e_id`.
    """
    batch.edge_weight = (batch.e_id - _NO_EDGE).to(torch.int32).view(torch.float32)
    del batch.e_id
    return batch


def _to_edge_ids(weights: np.ndarray) -> Tensor:
    return torch.from_numpy(weights.view(np.int32).astype(np.int64) + _NO_EDGE)


def _refuse(index: NodeSamplerInput | EdgeSamplerInput) -> None:
    if index.input_type is not None:
        raise PinGraphError(
            f"the loader samples {index.input_type!r} of heterogeneous data; expected Data of pins"
        )
    if index.time is not None:
        raise PinGraphError("the loader gives the seeds times, but the samplers here know none")


def _choose(words: Tensor, weights: Tensor, num_pins: int, name: str) -> Tensor:
    """Return a pin for each random word, in proportion to the weights of all pins."""
    if weights.shape != (num_pins,):
        raise PinGraphError(f"{name} has shape {tuple(weights.shape)}; expected ({num_pins},)")
    bad = ~(weights.isfinite() & (weights >= 0))
    if bad.any():
        pin = int(bad.int().argmax())
        raise PinGraphError(f"{name}[{pin}] is {weights[pin]}; expected 0 or more")
    sums = weights.double().cumsum(0)
    if sums[-1] == 0:
        raise PinGraphError(f"{name} is 0 for every pin; expected a weight above 0")
    shares = shift_right(words, 11).double() * 2.0**-53  # uniform in [0, 1)
    places = torch.searchsorted(sums, shares * sums[-1], right=True)
    last = weights.nonzero()[-1, 0]  # the product may have been rounded up to the sum
    return torch.minimum(places, last)
