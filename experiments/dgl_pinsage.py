"""Trains a PinSAGE of DGL's parts on our walks and prints recall@10 before and after.

    python -m pingraph.experiments.dgl_pinsage

Neighbors are pooled by their share of the visits of walks, and pairs learned by a margin: Ying et
al., KDD 2018 (arXiv 1806.01973), algorithm 1 and section 3.3.
"""

from __future__ import annotations

import dgl
import numpy as np
import torch
from dgl import function as fn
from dgl.dataloading import DataLoader, as_edge_prediction_sampler, negative_sampler
from jsonargparse import auto_cli
from torch import Tensor, nn
from torch.nn.functional import normalize

from pingraph.experiments.board_mates import WORDS, BoardMates
from pingraph.samplers import PinSAGESampler
from pingraph.samplers.dgl_adapter import DGLSampler
from pingraph.samplers.torch_hops import edge_index


class Convolution(nn.Module):
    """Pools the neighbors by their weights and joins them with the pin itself."""

    def __init__(self, size: int, hidden: int):
        super().__init__()
        self.neighbor, self.join = nn.Linear(size, hidden), nn.Linear(size + hidden, hidden)

    def forward(self, block: dgl.DGLGraph, h: Tensor) -> Tensor:
        """Return vectors of length 1 of the block's destinations."""
        with block.local_scope():
            block.srcdata["n"] = self.neighbor(h).relu()
            block.update_all(fn.u_mul_e("n", "weight", "m"), fn.sum("m", "pooled"))
            both = torch.cat([h[: block.num_dst_nodes()], block.dstdata["pooled"]], dim=1)
        return normalize(self.join(both).relu())


def main(data: str = "world", epochs: int = 5, seed: int = 0) -> None:
    """Train on one data set and print how well hidden board-mates are found.

    Args:
        data: a data set folder, or "icons" or "world".
        epochs: passes over the pairs.
        seed: of the hidden saves, the walks and the model.
    """
    for set_seed in (torch.manual_seed, dgl.seed, np.random.seed):  # DGL shuffles by NumPy's
        set_seed(seed)
    task = BoardMates.open(data, seed=seed)
    walks = PinSAGESampler(k=10, num_walks=100)
    pins = np.arange(task.graph.num_pins)
    pairs, _ = edge_index(walks.sample(task.graph, pins, seed=seed))
    g = dgl.graph(tuple(pairs), num_nodes=len(pins))  # its edges are the pairs to learn
    g.ndata["x"] = torch.from_numpy(task.words)
    sampler = DGLSampler(task.graph, [walks, walks], seed=seed, prefetch_node_feats=["x"])
    links = as_edge_prediction_sampler(sampler, negative_sampler=negative_sampler.Uniform(1))
    train = DataLoader(g, torch.arange(g.num_edges()), links, batch_size=1024, shuffle=True)
    everyone = DataLoader(g, g.nodes(), sampler, batch_size=1024)
    layers = nn.ModuleList([Convolution(WORDS, 64), Convolution(64, 64)])
    print(f"texts alone: recall@10 {task.recall(task.words):.3f}")
    print(f"untrained: recall@10 {task.recall(embed(layers, everyone)):.3f}")
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.005)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)  # fresh walks, in the workers too if there are any
        losses = [step(layers, optimizer, *batch[1:]) for batch in train]
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}")
    print(f"trained: recall@10 {task.recall(embed(layers, everyone)):.3f}")


def convolve(layers: nn.ModuleList, blocks: list[dgl.DGLGraph]) -> Tensor:
    """Return the vectors of the pins that the last block ends in."""
    h = blocks[0].srcdata["x"]
    for layer, block in zip(layers, blocks, strict=True):
        h = layer(block, h)
    return h


def step(layers, optimizer, positive, negative, blocks, margin=0.2) -> float:
    """Bring the ends of each pair nearer than a random pin, by a margin."""
    h = convolve(layers, blocks)
    near, far = ((h[a] * h[b]).sum(1) for a, b in (positive.edges(), negative.edges()))
    loss = (far - near + margin).relu().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def embed(layers: nn.ModuleList, loader: DataLoader) -> np.ndarray:
    """Return the vectors of all pins."""
    return torch.cat([convolve(layers, blocks) for _, _, blocks in loader]).numpy()


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
