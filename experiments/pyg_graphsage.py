"""Trains a PyG GraphSAGE on our walks and prints recall@10 before and after.

    python -m pingraph.experiments.pyg_graphsage

The vector of a pin comes from the words of its text and of its neighbors, two hops around it. It
learns to be near the pins that walks over the boards lead to.
"""

from __future__ import annotations

import numpy as np
import torch
from jsonargparse import auto_cli
from torch.nn.functional import logsigmoid, normalize
from torch_geometric.data import Data
from torch_geometric.loader import LinkLoader, NodeLoader
from torch_geometric.nn import GraphSAGE

from pingraph.experiments.board_mates import WORDS, BoardMates
from pingraph.samplers import PinSAGESampler
from pingraph.samplers.pyg_adapter import PyGSampler
from pingraph.samplers.torch_hops import edge_index

TEMPERATURE = 0.1


def main(data: str = "world", epochs: int = 5, seed: int = 0) -> None:
    """Train on one data set and print how well hidden board-mates are found.

    Args:
        data: a data set folder, or "icons" or "world".
        epochs: passes over the pairs.
        seed: of the hidden saves, the walks and the model.
    """
    torch.manual_seed(seed)
    task = BoardMates.open(data, seed=seed)
    walks = PinSAGESampler(k=10, num_walks=100)
    sampler = PyGSampler(task.graph, [walks, walks], seed=seed)
    nodes = Data(x=torch.from_numpy(task.words), edge_index=torch.empty(2, 0, dtype=torch.int64))
    pins = np.arange(task.graph.num_pins)
    pairs, _ = edge_index(walks.sample(task.graph, pins, seed=seed))
    train = LinkLoader(nodes, sampler, pairs, neg_sampling="triplet", batch_size=1024, shuffle=True)
    everyone = NodeLoader(nodes, sampler, batch_size=1024)

    model = GraphSAGE(WORDS, 64, num_layers=2)
    print(f"texts alone: recall@10 {task.recall(task.words):.3f}")
    print(f"untrained: recall@10 {task.recall(embed(model, everyone)):.3f}")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)  # fresh walks, in the workers too if there are any
        losses = [step(model, optimizer, batch) for batch in train]
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}")
    print(f"trained: recall@10 {task.recall(embed(model, everyone)):.3f}")


def step(model: GraphSAGE, optimizer: torch.optim.Optimizer, batch: Data) -> float:
    """Bring the ends of each pair together, and its first end and a random pin apart."""
    vectors = normalize(model(batch.x, batch.edge_index))
    pin, near, far = (vectors[batch[i]] for i in ("src_index", "dst_pos_index", "dst_neg_index"))
    loss = -logsigmoid((pin * (near - far)).sum(1) / TEMPERATURE).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def embed(model: GraphSAGE, loader: NodeLoader) -> np.ndarray:
    """Return the vectors of all pins."""
    return torch.cat([model(b.x, b.edge_index)[: b.batch_size] for b in loader]).numpy()


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
