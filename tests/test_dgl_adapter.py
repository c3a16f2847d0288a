"""The DGL adapter in DGL's own loader: exact blocks, numbering, workers, epochs, links."""

import os
from itertools import pairwise

os.environ["DGLBACKEND"] = "pytorch"  # else DGL writes a file into the home folder

import dgl
import numpy as np
import pytest
import torch
from dgl.dataloading import DataLoader, as_edge_prediction_sampler, negative_sampler
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.convert import to_dgl
from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.samplers import PinSAGESampler
from pingraph.samplers.dgl_adapter import DGLSampler
from tests.sampler_contract import skewed_graph

PINS, ISOLATED = 400, 395  # pins 395 … 399 have no board
TWO_HOPS = [PinSAGESampler(k=5, num_walks=50), PinSAGESampler(k=3, num_walks=50)]

pytestmark = pytest.mark.filterwarnings("ignore::dgl.base.DGLWarning")  # of CPU affinity


@pytest.fixture
def graph():
    return skewed_graph(PINS, 60, ISOLATED)


@pytest.fixture
def nodes():
    """A DGL graph without edges; its node data tell the pin."""
    g = dgl.graph(([], []), num_nodes=PINS)
    g.ndata["x"] = torch.arange(PINS, dtype=torch.float32)[:, None]
    return g


def assert_block(block, sampler, graph, *, seed, epoch=0):
    """Check a block against the sampler, pin by pin and neighbor by neighbor."""
    sources, targets = block.srcdata[dgl.NID], block.dstdata[dgl.NID]
    assert torch.equal(sources[: len(targets)], targets)  # DGL's order: destinations first
    expected, edges, weights = targets.tolist(), [], []
    for place, pin in enumerate(targets.tolist()):
        found = sampler.sample(graph, [pin], seed=seed, epoch=epoch)
        for neighbor in found.ids[found.mask].tolist():
            if neighbor not in expected:
                expected.append(neighbor)
            edges.append((expected.index(neighbor), place))
        weights += found.weights[found.mask].tolist()
    assert sources.tolist() == expected
    assert list(zip(*(end.tolist() for end in block.edges()), strict=True)) == edges
    assert block.edata["weight"].tolist() == weights
    assert block.edata["weight"].dtype == torch.float32


@settings(max_examples=30, deadline=None)
@given(
    edges=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 5)), min_size=1, max_size=30),
    seeds=st.lists(st.integers(0, 11), min_size=1, max_size=6),
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    epoch=st.integers(0, 2**63 - 1),
)
def test_blocks_hold_what_the_samplers_find(edges, seeds, widths, epoch):
    pins, boards = zip(*edges, strict=True)
    graph = PinBoardGraph.from_edges(pins, boards, pin_ids=range(12), board_ids=range(6))
    hops = [PinSAGESampler(k=k, num_walks=10) for k in widths]
    sampler = DGLSampler(graph, hops, seed=9)
    sampler.set_epoch(epoch)
    g = dgl.graph(([], []), num_nodes=12)
    input_nodes, output_nodes, blocks = sampler.sample(g, torch.tensor(seeds))
    assert output_nodes.tolist() == blocks[-1].dstdata[dgl.NID].tolist() == seeds
    assert torch.equal(input_nodes, blocks[0].srcdata[dgl.NID])
    assert len(blocks) == len(hops)
    for block, after in pairwise(blocks):  # the hops compose
        assert torch.equal(block.dstdata[dgl.NID], after.srcdata[dgl.NID])
    for block, walks in zip(reversed(blocks), hops, strict=True):
        assert_block(block, walks, graph, seed=9, epoch=epoch)


def test_a_loader_goes_over_all_pins_and_fetches_their_data(graph, nodes):
    nodes.ndata["y"] = torch.arange(PINS)
    sampler = DGLSampler(graph, TWO_HOPS, seed=1, prefetch_node_feats=["x"], prefetch_labels=["y"])
    batches = list(DataLoader(nodes, torch.arange(PINS), sampler, batch_size=150))
    assert torch.cat([output for _, output, _ in batches]).tolist() == list(range(PINS))
    for input_nodes, output_nodes, blocks in batches:
        assert torch.equal(blocks[0].srcdata["x"][:, 0], input_nodes.float())
        assert torch.equal(blocks[-1].dstdata["y"], output_nodes)
        for block, walks in zip(reversed(blocks), TWO_HOPS, strict=True):
            assert_block(block, walks, graph, seed=1)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_change_nothing_and_epochs_reach_them(graph, nodes, persistent):
    def epochs(**options):
        sampler = DGLSampler(graph, TWO_HOPS, seed=1)
        loader = DataLoader(nodes, torch.arange(PINS), sampler, batch_size=150, **options)
        for epoch in (0, 1, 0):
            sampler.set_epoch(epoch)
            # In the order of the seeds: DGL's workers hand the batches out in another.
            yield sorted(map(plain, loader))

    alone = list(epochs())
    assert list(epochs(num_workers=2, persistent_workers=persistent)) == alone
    assert [len(batches) for batches in alone] == [3, 3, 3]
    assert alone[2] == alone[0]
    assert all(a != b for a, b in zip(alone[0], alone[1], strict=True))


def plain(batch):
    """Return a batch as lists, its seeds first."""
    input_nodes, output_nodes, blocks = batch
    parts = [output_nodes, input_nodes]
    for block in blocks:
        parts += [*block.edges(), block.edata["weight"], block.dstdata[dgl.NID]]
    return [part.tolist() for part in parts]


def test_pins_without_boards_have_no_edges(graph, nodes):
    sampler = DGLSampler(graph, TWO_HOPS, seed=1)
    input_nodes, output_nodes, blocks = sampler.sample(nodes, torch.tensor([399, 396]))
    assert input_nodes.tolist() == output_nodes.tolist() == [399, 396]
    assert [block.num_edges() for block in blocks] == [0, 0]
    assert [block.num_dst_nodes() for block in blocks] == [2, 2]


def test_narrow_indices_stay_narrow(graph, nodes):
    sampler = DGLSampler(graph, TWO_HOPS, seed=1)
    ids = torch.arange(30, dtype=torch.int32)
    input_nodes, output_nodes, blocks = sampler.sample(nodes.int(), ids)
    assert {input_nodes.dtype, output_nodes.dtype, *(b.idtype for b in blocks)} == {torch.int32}
    wide, _, _ = sampler.sample(nodes, ids.long())
    assert torch.equal(input_nodes, wide.int())


def test_links_with_negatives_train_a_model(graph):
    """Pairs of pins as the edges of a DGL graph, negatives of DGL, neighbors of ours."""
    torch.manual_seed(0)
    dgl.seed(0)
    found = PinSAGESampler(k=4).sample(graph, np.arange(0, 80, 2), seed=2)
    seeds = np.repeat(found.seeds, 4)
    g = dgl.graph((seeds, found.ids.ravel()), num_nodes=PINS)
    g.ndata["x"] = torch.randn(PINS, 16)
    sampler = DGLSampler(graph, TWO_HOPS[:1], seed=1, prefetch_node_feats=["x"])
    links = as_edge_prediction_sampler(sampler, negative_sampler=negative_sampler.Uniform(2))
    loader = DataLoader(g, torch.arange(g.num_edges()), links, batch_size=160)
    layer = torch.nn.Linear(32, 16)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        for input_nodes, positive, negative, (block,) in loader:
            assert torch.equal(positive.ndata[dgl.NID], block.dstdata[dgl.NID])
            assert torch.equal(block.srcdata["x"], g.ndata["x"][input_nodes])
            assert_block(block, TWO_HOPS[0], graph, seed=1)
            vectors = layer(aggregate(block, block.srcdata["x"]))
            loss = margin_loss(vectors, positive, negative)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def aggregate(block, x):
    """Return the vectors of the destinations beside the weighted mean of their neighbors."""
    with block.local_scope():
        block.srcdata["x"] = x
        block.update_all(dgl.function.u_mul_e("x", "weight", "m"), dgl.function.sum("m", "mean"))
        return torch.cat([x[: block.num_dst_nodes()], block.dstdata["mean"]], dim=1)


def margin_loss(vectors, positive, negative):
    scores = []
    for pairs in (positive, negative):
        source, target = pairs.edges()
        scores.append((vectors[source] * vectors[target]).sum(1))
    return (scores[1].view(-1, 2) - scores[0][:, None] + 1).clamp(min=0).mean()


# Bad input.


def test_a_dgl_graph_of_other_nodes_is_refused(graph):
    sampler = DGLSampler(graph, TWO_HOPS, seed=1)
    for g, found in (
        (dgl.graph(([], []), num_nodes=7), "7 _N"),
        (to_dgl(graph), "60 board, 400 pin"),
    ):
        with pytest.raises(PinGraphError, match=f"nodes {found}; expected nodes of one type, 400"):
            sampler.sample(g, torch.tensor([1]))


def test_edges_cannot_be_excluded(graph):
    g = dgl.graph(([0, 1], [1, 2]), num_nodes=PINS)
    sampler = DGLSampler(graph, TWO_HOPS, seed=1)
    links = as_edge_prediction_sampler(sampler, exclude="self")
    with pytest.raises(PinGraphError, match="exclude is set"):
        links.sample(g, torch.tensor([0]))


def test_pins_that_the_graph_lacks_are_refused(graph, nodes):
    sampler = DGLSampler(graph, TWO_HOPS, seed=1)
    with pytest.raises(PinGraphError, match=r"seeds\[1\] is 400; expected a pin"):
        sampler.sample(nodes, torch.tensor([1, 400]))


@pytest.mark.parametrize("hops", [[], PinSAGESampler(), [None]])
def test_what_is_no_list_of_samplers_is_refused(graph, hops):
    with pytest.raises(PinGraphError, match=r"^hops.*expected a"):
        DGLSampler(graph, hops, seed=1)
