"""Our samplers in DGL's protocol: `dgl.dataloading.DataLoader` gets blocks of their neighbors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pingraph.convert import import_dgl
from pingraph.errors import PinGraphError
from pingraph.interfaces import Sampler
from pingraph.samplers.torch_hops import Hop, HopSampler, to_hop

if TYPE_CHECKING:
    from torch import Tensor

    from pingraph.graph import PinBoardGraph

dgl: Any = import_dgl()


class DGLSampler(HopSampler, dgl.dataloading.BlockSampler):
    """Gives DGL's data loader blocks of pins, each with the neighbors a sampler finds for it.

    The last block has the seeds as its destinations and the neighbors of the first hop as its
    sources; the sources of a block are the destinations of the block before. `edata["weight"]`
    holds the weights, float32; `srcdata[dgl.NID]` and `dstdata[dgl.NID]` the pins.

    Source: the protocol of `dgl.dataloading.BlockSampler`, DGL 1.1 and 2. It also works within
    `dgl.dataloading.as_edge_prediction_sampler`.

    Args:
        graph: the graph to walk on; node i of the loader's DGL graph is pin i. That graph serves
            for its node data; its edges are not walked on.
        hops: a sampler for each hop, the one around the seeds first.
        seed: the random seed, 0 to 2⁶⁴ - 1.
        prefetch_node_feats: names of node data to fetch for the sources of the first block.
        prefetch_labels: names of node data to fetch for the destinations of the last block.

    Raises:
        PinGraphError: there is no hop, one is no sampler, or the seed is out of range.
    """

    def __init__(
        self,
        graph: PinBoardGraph,
        hops: Sequence[Sampler],
        *,
        seed: int,
        prefetch_node_feats: list[str] | None = None,
        prefetch_labels: list[str] | None = None,
    ):
        dgl.dataloading.BlockSampler.__init__(self, prefetch_node_feats, prefetch_labels)
        HopSampler.__init__(self, graph, hops, seed=seed)

    def sample_blocks(
        self, g: dgl.DGLGraph, seed_nodes: Tensor, exclude_eids: Tensor | None = None
    ) -> tuple[Tensor, Tensor, list[Any]]:
        """Return the pins to read features of, the seeds, and a block for each layer.

        DGL calls it through `sample(g, seed_nodes)`.

        Raises:
            PinGraphError: the DGL graph has several types of nodes or not one node for each pin, a
                seed is not a pin, or edges are to be excluded, which walks on boards cannot do.
        """
        if len(g.ntypes) != 1 or g.num_nodes() != self.graph.num_pins:
            found = ", ".join(f"{g.num_nodes(kind)} {kind}" for kind in g.ntypes)
            expected = f"nodes of one type, {self.graph.num_pins} as the graph has pins"
            raise PinGraphError(f"the DGL graph has the nodes {found}; expected {expected}")
        if exclude_eids is not None:
            raise PinGraphError("exclude is set; expected None: walks do not use the graph's edges")
        pins = np.asarray(seed_nodes.cpu(), np.int64)
        blocks: list[Any] = []
        for hop in range(len(self.hops)):
            made = to_hop(pins, self.neighbors(hop, pins))
            blocks.insert(0, _to_block(made, len(pins), seed_nodes))
            pins = made.nodes
        return blocks[0].srcdata[dgl.NID], seed_nodes, blocks


def _to_block(hop: Hop, num_targets: int, like: Tensor) -> Any:
    """Return a DGL block whose node ids have the dtype and device of the tensor `like`."""
    nodes, sources, targets = (
        torch.from_numpy(array).to(like) for array in (hop.nodes, hop.sources, hop.targets)
    )
    block = dgl.create_block((sources, targets), len(nodes), num_targets)
    block.srcdata[dgl.NID], block.dstdata[dgl.NID] = nodes, nodes[:num_targets]
    block.edata["weight"] = torch.from_numpy(hop.weights).to(like.device)
    return block
