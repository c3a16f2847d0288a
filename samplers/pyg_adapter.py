"""Our samplers as a PyG `BaseSampler`: `NodeLoader` and `LinkLoader` train on their neighbors."""

from __future__ import annotations

import math
from dataclasses import replace
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
from pingraph.samplers.requests import check_seeds
from pingraph.samplers.torch_hops import HopSampler, to_hop
from pingraph.samplers.torch_randomness import draw, epoch_key, pick, shift_right

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data

_NO_EDGE = 2**40  # added to the bits of a weight: no table of edges has such a row
_TREE = 2**40  # more than the pins of any graph: pin p of tree t is node t * _TREE + p
_STREAM = int.from_bytes(b"pyglink", "big")  # in the address of a negative, in place of a pin


class PyGSampler(HopSampler, BaseSampler):
    """Gives PyG's loaders batches of pins, each with the neighbors that a sampler finds for it.

    In the batch the seeds come first, then the pins of each hop as they are found. A pin stands in
    it once and is sampled once, at the hop after the one that found it, as PyG's own
    `NeighborSampler` does it. Edges go from a neighbor to the pin whose neighbor it is; the
    loader's `transform=edge_weight` puts their weights into the batch.

    Where the loader gives its seeds times (`input_time`, `edge_label_time`), all hops around a seed
    are sampled at the seed's time, and each seed has pins of its own; `batch` says whose a pin is.

    Source: the protocol of `torch_geometric.sampler.BaseSampler`, torch-geometric 2.8.

    Args:
        graph: the graph to walk on; node i of the loader's `Data` is pin i.
        hops: a sampler for each hop, the one around the seeds first.
        seed: the random seed, 0 to 2⁶⁴ - 1, of the walks and of a `LinkLoader`'s negatives.

    Raises:
        PinGraphError: there is no hop, one is no sampler, or the seed is out of range.
    """

    def sample_from_nodes(self, index: NodeSamplerInput, **kwargs) -> SamplerOutput:
        """Return the neighborhood of the nodes of a `NodeLoader`'s batch.

        A repeated seed keeps a place for each time, with edges of its own.

        Raises:
            PinGraphError: the nodes have a type, or times of which a sampler knows nothing, or one
                is not a pin of the graph.
        """
        self._check(index)
        output = self._sample(index.node, index.time)
        output.metadata = index.input_id, index.time
        return output

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> SamplerOutput:
        """Return the neighborhood of both ends of the pairs of a `LinkLoader`'s batch.

        Negatives follow PyG's rules: drawn uniformly, or by the weights of `neg_sampling`, so one
        may be a true pair. Unlike PyG's, they are a function of the random seed, the epoch and the
        place of the pair in the loader, whatever the workers. They have the time of their pair.

        Raises:
            PinGraphError: the pairs have a type, or times of which a sampler knows nothing, an end
                is not a pin of the graph, or a weight of `neg_sampling` is wrong.
        """
        self._check(index)
        label, own = index.label, torch.arange(len(index.row))
        ends = [(index.row, own), (index.col, own)]  # pins, and the pairs that they belong to
        if neg_sampling is not None:
            pair, turn = _turns(len(own), neg_sampling)
            ends.append((self._negatives(index, neg_sampling, "dst", pair, turn), pair))
            if neg_sampling.is_binary():
                ends.insert(1, (self._negatives(index, neg_sampling, "src", pair, turn), pair))
                label = torch.ones(len(own)) if label is None else label
                label = torch.cat([label, label.new_zeros((len(pair), *label.shape[1:]))])
        pins, pairs = (torch.cat(parts) for parts in zip(*ends, strict=True))
        if index.time is None:
            seeds, places = pins.unique(return_inverse=True)
            output = self._sample(seeds)
        else:
            places = torch.arange(len(pins))
            output = self._sample(pins, index.time[pairs])
            output.batch = pairs[output.batch]
        if neg_sampling is None or neg_sampling.is_binary():
            places = places.view(2, -1)
            time = None if index.time is None else index.time[pairs[: places.shape[1]]]
            output.metadata = index.input_id, places, label, time
        else:
            source, near, far = places.split([len(own), len(own), len(pair)])
            far = far.view(len(own), -1).squeeze(-1)
            output.metadata = index.input_id, source, near, far, index.time
        return output

    def _check(self, index: NodeSamplerInput | EdgeSamplerInput) -> None:
        if index.input_type is not None:
            kind = index.input_type
            raise PinGraphError(f"the loader samples {kind!r} of heterogeneous data; expected Data")
        if index.time is not None:
            self.check_timed()

    def _sample(self, seeds: Tensor, times: Tensor | None = None) -> SamplerOutput:
        """Return the hops around seeds; with times, each seed has nodes of its own, by `batch`."""
        nodes, start = check_seeds(self.graph, seeds.numpy()), 0
        if times is not None:
            nodes += np.arange(len(nodes)) * _TREE
        rows, columns, weights, num_nodes = [], [], [], [len(nodes)]
        for hop in range(len(self.hops)):
            trees, pins = np.divmod(nodes[start:], _TREE)
            found = self.neighbors(hop, pins, None if times is None else times.numpy()[trees])
            made = to_hop(nodes, replace(found, ids=found.ids + trees[:, None] * _TREE))
            rows.append(made.sources)
            columns.append(made.targets + start)
            weights.append(made.weights)
            start, nodes = len(nodes), made.nodes
            num_nodes.append(len(nodes) - start)
        trees, pins = np.divmod(nodes, _TREE)
        return SamplerOutput(
            node=torch.from_numpy(pins),
            row=torch.from_numpy(np.concatenate(rows)),
            col=torch.from_numpy(np.concatenate(columns)),
            edge=_to_edge_ids(np.concatenate(weights)),
            batch=None if times is None else torch.from_numpy(trees),
            num_sampled_nodes=num_nodes,
            num_sampled_edges=[len(row) for row in rows],
        )

    def _negatives(
        self,
        index: EdgeSamplerInput,
        sampling: NegativeSampling,
        end: str,
        pair: Tensor,
        turn: Tensor,
    ) -> Tensor:
        """Return a pin for each pair and turn."""
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
    return torch.from_numpy(weights.astype(np.float32).view(np.int32).astype(np.int64) + _NO_EDGE)


def _turns(pairs: int, sampling: NegativeSampling) -> tuple[Tensor, Tensor]:
    """Return the pair of each negative and its number among those of the pair, int64 both.

    Those of a triplet stand side by side; else all pairs take turns, until there are enough.
    """
    number = torch.arange(math.ceil(pairs * sampling.amount))
    if sampling.is_triplet():
        return number // sampling.amount, number % sampling.amount
    return number % pairs, number // pairs


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
    shares = shift_right(words, 11).double() * 2.0**-53  # 0 to 1 - 2⁻⁵³: times the sum is below it
    return torch.searchsorted(sums, shares * sums[-1], right=True)
