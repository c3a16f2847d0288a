"""The PyG adapter in PyG's own loaders: exact neighborhoods, numbering, workers, epochs, links."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import LinkLoader, NodeLoader
from torch_geometric.nn import GraphSAGE
from torch_geometric.sampler import (
    EdgeSamplerInput,
    NegativeSampling,
    NodeSamplerInput,
)

from pingraph.errors import PinGraphError
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors
from pingraph.samplers import (
    CoBoardSampler,
    MixtureSampler,
    PinSAGESampler,
    PixieSampler,
    PPRSampler,
    TemporalSampler,
)
from pingraph.samplers.pyg_adapter import PyGSampler, _choose, edge_weight
from pingraph.samplers.torch_hops import edge_index, to_hop
from tests.sampler_contract import skewed_graph

PINS, ISOLATED = 400, 395  # pins 395 … 399 have no board
TWO_HOPS = [PinSAGESampler(k=5, num_walks=50), PinSAGESampler(k=3, num_walks=50)]


@pytest.fixture
def graph():
    return skewed_graph(PINS, 60, ISOLATED)


@pytest.fixture
def data():
    """Features that tell the pin, and no edges."""
    x = torch.arange(PINS, dtype=torch.float32)[:, None]
    return Data(x=x, edge_index=torch.empty(2, 0, dtype=torch.int64))


def twin(graph, hops, seeds, *, seed, epoch=0):
    """Return nodes and (source, target, weight) edges, pin by pin and neighbor by neighbor."""
    nodes, edges, start = list(seeds), [], 0
    for sampler in hops:
        end = len(nodes)
        for place in range(start, end):
            found = sampler.sample(graph, [nodes[place]], seed=seed, epoch=epoch)
            for pin, weight in zip(found.ids[0].tolist(), found.weights[0].tolist(), strict=True):
                if pin >= 0:
                    if pin not in nodes:
                        nodes.append(pin)
                    edges.append((nodes.index(pin), place, weight))
        start = end
    return nodes, edges


def edges_of(batch):
    return list(zip(*batch.edge_index.tolist(), batch.edge_weight.tolist(), strict=True))


def assert_same_batches(found, expected):
    assert len(found) == len(expected) > 1
    for a, b in zip(found, expected, strict=True):
        assert set(a.keys()) == set(b.keys())
        for name in b.keys():  # noqa: SIM118 (a Data iterates over pairs)
            assert type(a[name]) is type(b[name]), name
            same = torch.equal(a[name], b[name]) if torch.is_tensor(b[name]) else a[name] == b[name]
            assert same, name


# What a batch holds.


@settings(max_examples=30, deadline=None)
@given(
    edges=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 5)), min_size=1, max_size=30),
    seeds=st.lists(st.integers(0, 11), min_size=1, max_size=6),
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    epoch=st.integers(0, 2**63 - 1),
)
def test_a_neighborhood_equals_its_plain_twin(edges, seeds, widths, epoch):
    pins, boards = zip(*edges, strict=True)
    graph = PinBoardGraph.from_edges(pins, boards, pin_ids=range(12), board_ids=range(6))
    hops = [PinSAGESampler(k=k, num_walks=10) for k in widths]
    sampler = PyGSampler(graph, hops, seed=9)
    sampler.set_epoch(epoch)
    data = Data(x=torch.zeros(12, 1), edge_index=torch.empty(2, 0, dtype=torch.int64))
    loader = NodeLoader(data, sampler, torch.tensor(seeds), batch_size=6, transform=edge_weight)
    (batch,) = loader
    expected_nodes, expected_edges = twin(graph, hops, seeds, seed=9, epoch=epoch)
    assert batch.n_id.tolist() == expected_nodes
    assert edges_of(batch) == expected_edges
    assert batch.batch_size == len(seeds)
    assert sum(batch.num_sampled_nodes) == len(expected_nodes)
    assert sum(batch.num_sampled_edges) == len(expected_edges)


def test_a_node_loader_goes_over_all_pins(graph, data):
    sampler = PyGSampler(graph, TWO_HOPS, seed=1)
    loader = NodeLoader(data, sampler, batch_size=150, transform=edge_weight)
    batches = list(loader)
    assert [batch.batch_size for batch in batches] == [150, 150, 100]
    assert torch.cat([b.n_id[: b.batch_size] for b in batches]).tolist() == list(range(PINS))
    for batch in batches:
        assert torch.equal(batch.x[:, 0], batch.n_id.float())  # features belong to their pins
        assert batch.input_id.tolist() == batch.n_id[: batch.batch_size].tolist()
        nodes, edges = twin(graph, TWO_HOPS, batch.n_id[: batch.batch_size].tolist(), seed=1)
        assert batch.n_id.tolist() == nodes
        assert edges_of(batch) == edges
        assert "e_id" not in batch


@pytest.mark.parametrize(
    "walks",
    [
        PixieSampler(),
        PPRSampler(k=6),
        CoBoardSampler(k=4),
        MixtureSampler(samplers=[PinSAGESampler(), CoBoardSampler()]),
    ],
    ids=lambda walks: type(walks).__name__,
)
def test_any_sampler_will_do(graph, data, walks):
    sampler = PyGSampler(graph, [walks], seed=1)
    (batch,) = NodeLoader(data, sampler, [3, 50], batch_size=2, transform=edge_weight)
    assert (batch.n_id.tolist(), edges_of(batch)) == twin(graph, [walks], [3, 50], seed=1)
    assert len(batch.n_id) > 5


def test_a_mask_selects_the_seeds(graph, data):
    sampler = PyGSampler(graph, TWO_HOPS, seed=1)
    mask = torch.arange(PINS) % 100 == 7
    (batch,) = NodeLoader(data, sampler, mask, batch_size=9)
    assert batch.n_id[:4].tolist() == batch.input_id.tolist() == [7, 107, 207, 307]


def test_pins_without_boards_have_no_edges(graph, data):
    sampler = PyGSampler(graph, TWO_HOPS, seed=1)
    seeds = torch.tensor([399, 0, 396])
    (batch,) = NodeLoader(data, sampler, seeds, batch_size=3, transform=edge_weight)
    assert batch.n_id[:3].tolist() == [399, 0, 396]
    assert not set(batch.edge_index.flatten().tolist()) & {0, 2}
    (alone,) = NodeLoader(data, sampler, seeds[::2], batch_size=3, transform=edge_weight)
    assert alone.edge_index.shape == (2, 0)
    assert alone.edge_weight.dtype == torch.float32
    assert alone.num_sampled_nodes == [2, 0, 0]
    assert alone.num_sampled_edges == [0, 0]


def test_layers_may_be_trimmed_to_their_hops(graph, data):
    """PyG's trim_to_layer drops what a layer no longer needs: the seeds' vectors stay the same."""
    sampler = PyGSampler(graph, TWO_HOPS, seed=1)
    (batch,) = NodeLoader(data, sampler, torch.arange(40), batch_size=40)
    torch.manual_seed(0)
    model = GraphSAGE(1, 8, num_layers=2, out_channels=4)
    whole = model(batch.x, batch.edge_index)[:40]
    trimmed = model(
        batch.x,
        batch.edge_index,
        num_sampled_nodes_per_hop=batch.num_sampled_nodes,
        num_sampled_edges_per_hop=batch.num_sampled_edges,
    )[:40]
    torch.testing.assert_close(trimmed, whole)


def test_edge_weights_pass_bit_for_bit(graph, data):
    """Weights travel as whole numbers; thirds and tiny ones must come out as they went in."""
    weights = np.array([[1 / 3, 2 / 3, 1e-30], [1, np.nextafter(0, 1, dtype=np.float32), 0]])

    class Fixed:
        def sample(self, graph, seeds, *, seed, epoch=0):
            found = TWO_HOPS[1].sample(graph, seeds, seed=seed, epoch=epoch)
            return replace(found, weights=weights.astype(np.float32))

    loader = NodeLoader(
        data, PyGSampler(graph, [Fixed()], seed=1), [0, 1], batch_size=2, transform=edge_weight
    )
    (batch,) = loader
    found = TWO_HOPS[1].sample(graph, [0, 1], seed=1)
    expected = weights.astype(np.float32)[found.mask]
    assert batch.edge_weight.numpy().tobytes() == expected.tobytes()


def test_edge_attributes_of_the_data_are_refused_not_mixed_up(graph, data):
    data.edge_index, data.edge_attr = torch.zeros(2, 3, dtype=torch.int64), torch.ones(3)
    loader = NodeLoader(data, PyGSampler(graph, TWO_HOPS, seed=1), batch_size=10)
    with pytest.raises(IndexError):
        next(iter(loader))


# Workers and epochs.


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_change_nothing_and_epochs_reach_them(graph, data, persistent):
    def epochs(**options):
        sampler = PyGSampler(graph, TWO_HOPS, seed=1)
        loader = NodeLoader(data, sampler, batch_size=150, transform=edge_weight, **options)
        for epoch in (0, 1, 0):
            sampler.set_epoch(epoch)
            yield list(loader)
        end_workers(loader)

    alone = list(epochs())
    shared = list(epochs(num_workers=2, persistent_workers=persistent))
    for found, expected in zip(shared, alone, strict=True):
        assert_same_batches(found, expected)
    assert_same_batches(alone[2], alone[0])
    assert not torch.equal(alone[1][0].n_id, alone[0][0].n_id)
    fresh = TWO_HOPS[0].sample(graph, [0], seed=1, epoch=1)
    first = [source for source, target, _ in edges_of(alone[1][0]) if target == 0]
    assert alone[1][0].n_id[first].tolist() == fresh.ids[fresh.mask].tolist()


def test_spawned_workers_see_the_epoch_change(graph, data):
    sampler = PyGSampler(graph, TWO_HOPS, seed=1)
    options = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": "spawn"}
    loader = NodeLoader(data, sampler, batch_size=200, **options)
    for epoch in (0, 5):
        sampler.set_epoch(epoch)
        assert_same_batches(list(loader), list(NodeLoader(data, sampler, batch_size=200)))
    end_workers(loader)


def end_workers(loader):
    """Let persistent workers go: a loader that is garbage in a cycle waits 5 s for each of them."""
    loader._iterator = None


# Times.


class Timed:
    """Walks as of a time: here each time is an epoch of its own."""

    def __init__(self, k):
        self.walks = PinSAGESampler(k=k, num_walks=20)

    def sample(self, graph, seeds, *, seed, epoch=0, times=None):
        rows = [
            self.walks.sample(graph, [pin], seed=seed, epoch=int(time))
            for pin, time in zip(seeds, times, strict=True)
        ]
        names = vars(rows[0])
        return Neighbors(**{n: np.concatenate([getattr(row, n) for row in rows]) for n in names})


def assert_trees(batch, hops, graph, seeds, times):
    """Check that each seed has the neighborhood that it has alone, at its time."""
    weights = batch.edge_weight.tolist()
    for tree, (pin, time) in enumerate(zip(seeds, times, strict=True)):
        nodes, edges = twin(graph, [hop.walks for hop in hops], [pin], seed=1, epoch=time)
        assert batch.n_id[batch.batch == tree].tolist() == nodes
        found = [
            (int(batch.n_id[source]), int(batch.n_id[target]), weight)
            for source, target, weight in zip(*batch.edge_index.tolist(), weights, strict=True)
            if batch.batch[target] == tree
        ]
        assert found == [(nodes[source], nodes[target], weight) for source, target, weight in edges]
    assert torch.equal(*batch.batch[batch.edge_index])  # no edge leads from tree to tree


def test_each_seed_is_sampled_at_its_own_time(graph, data):
    hops = [Timed(4), Timed(2)]
    seeds, times = torch.tensor([5, 9, 5, 5, 399]), torch.tensor([70, 3, 70, 4, 6])
    sampler = PyGSampler(graph, hops, seed=1)
    loader = NodeLoader(data, sampler, seeds, input_time=times, batch_size=5, transform=edge_weight)
    (batch,) = loader
    assert_trees(batch, hops, graph, seeds.tolist(), times.tolist())
    assert batch.n_id[:5].tolist() == seeds.tolist()
    assert torch.equal(batch.seed_time, times)
    assert torch.equal(batch.x[:, 0], batch.n_id.float())


@pytest.mark.parametrize("mode", [None, "binary", "triplet"])
def test_both_ends_of_a_pair_and_its_negatives_have_its_time(graph, data, mode):
    hops, times = [Timed(3)], torch.tensor([7, 8, 9])
    pairs = torch.tensor([[5, 9, 5], [2, 3, 399]])
    (batch,) = LinkLoader(
        data,
        PyGSampler(graph, hops, seed=1),
        pairs,
        edge_label_time=times,
        neg_sampling=None if mode is None else NegativeSampling(mode, 2),
        batch_size=3,
        transform=edge_weight,
    )
    if mode == "triplet":
        ends = torch.stack([batch.src_index, batch.dst_pos_index])
        assert torch.equal(batch.seed_time, times)
        assert torch.equal(batch.batch[batch.dst_neg_index], torch.arange(3).repeat(2, 1).T)
    else:
        turns = 1 if mode is None else 3
        ends = batch.edge_label_index
        assert torch.equal(batch.edge_label_time, times.repeat(turns))
        assert torch.equal(batch.batch[ends], torch.arange(3).repeat(2, turns))
    assert torch.equal(batch.n_id[ends[:, :3]], pairs)
    seeds = batch.num_sampled_nodes[0]
    assert seeds == {None: 6, "binary": 18, "triplet": 12}[mode]
    owners, pins = batch.batch[:seeds], batch.n_id[:seeds].tolist()
    batch.batch = trees_of(batch, seeds)
    assert_trees(batch, hops, graph, pins, times[owners].tolist())


def trees_of(batch, seeds):
    """Return the seed that each node hangs on, by the edges of one hop."""
    trees = torch.arange(len(batch.n_id))
    source, target = batch.edge_index
    trees[source[source >= seeds]] = target[source >= seeds]
    return trees


def test_a_temporal_sampler_sees_no_future_at_any_hop():
    """0 at time 1 and 1 at time 2 are saved to one board, 1 at 3 and 2 at 4 to another."""
    graph = PinBoardGraph.from_edges([0, 1, 1, 2], [0, 0, 1, 1], times=[1, 2, 3, 4])
    walks = TemporalSampler(walk_length=1)
    data = Data(x=torch.zeros(3, 1), edge_index=torch.empty(2, 0, dtype=torch.int64))
    times = torch.tensor([2, 3, 5])
    (batch,) = NodeLoader(
        data, PyGSampler(graph, [walks, walks], seed=1), [0, 0, 0], input_time=times, batch_size=3
    )
    pins = [batch.n_id[batch.batch == tree].tolist() for tree in range(3)]
    assert pins == [[0], [0, 1], [0, 1, 2]]


# Links.


def link_loader(graph, data, pairs, mode=None, amount=1, *, label=None, epoch=0, seed=1, **options):
    sampler = PyGSampler(graph, TWO_HOPS, seed=seed)
    sampler.set_epoch(epoch)
    return LinkLoader(
        data,
        sampler,
        pairs,
        label,
        neg_sampling=None if mode is None else NegativeSampling(mode, amount),
        transform=edge_weight,
        **{"batch_size": 64, **options},
    )


@pytest.fixture
def pairs(graph):
    """Pins and their neighbors: 160 pairs, and a pin without boards."""
    found, _ = edge_index(PinSAGESampler(k=4).sample(graph, np.arange(0, 80, 2), seed=2))
    return torch.cat([found, torch.tensor([[397], [397]])], dim=1)


def test_pairs_without_negatives(graph, data, pairs):
    labels = torch.arange(pairs.shape[1])
    batches = list(link_loader(graph, data, pairs, label=labels))
    ends = torch.cat([batch.n_id[batch.edge_label_index] for batch in batches], dim=1)
    assert torch.equal(ends, pairs)
    assert torch.equal(torch.cat([batch.edge_label for batch in batches]), labels)
    assert torch.equal(torch.cat([batch.input_id for batch in batches]), labels)
    for batch in batches:
        seeds = batch.n_id[: batch.num_sampled_nodes[0]].tolist()
        assert sorted(set(batch.n_id[batch.edge_label_index].flatten().tolist())) == sorted(seeds)
        nodes, edges = twin(graph, TWO_HOPS, seeds, seed=1)
        assert batch.n_id.tolist() == nodes
        assert edges_of(batch) == edges


@pytest.mark.parametrize("amount", [0.5, 1, 3])
def test_binary_negatives(graph, data, pairs, amount):
    start = 0
    for batch in link_loader(graph, data, pairs, "binary", amount):
        count = len(batch.input_id)
        negatives = int(np.ceil(count * amount))
        assert batch.edge_label.tolist() == [1.0] * count + [0.0] * negatives
        ends = batch.n_id[batch.edge_label_index]
        assert torch.equal(ends[:, :count], pairs[:, start : start + count])
        assert ends.shape == (2, count + negatives)
        assert len(ends[:, count:].unique()) > negatives / 2
        start += count


def test_labels_are_one_more_beside_binary_negatives(graph, data, pairs):
    """Which is what PyG does: 0 is a negative."""
    labels, start = torch.arange(pairs.shape[1]) % 3, 0
    for batch in link_loader(graph, data, pairs, "binary", label=labels):
        count = len(batch.input_id)
        own = labels[start : start + count]
        assert torch.equal(batch.edge_label, torch.cat([own + 1, torch.zeros_like(own)]))
        start += count


@pytest.mark.parametrize("amount", [1, 3])
def test_triplets(graph, data, pairs, amount):
    start = 0
    for batch in link_loader(graph, data, pairs, "triplet", amount):
        count = len(batch.input_id)
        assert torch.equal(batch.n_id[batch.src_index], pairs[0, start : start + count])
        assert torch.equal(batch.n_id[batch.dst_pos_index], pairs[1, start : start + count])
        assert batch.dst_neg_index.shape == ((count,) if amount == 1 else (count, amount))
        start += count


@pytest.mark.parametrize("mode", [None, "binary", "triplet"])
def test_links_and_negatives_do_not_depend_on_the_workers(graph, data, pairs, mode):
    alone = list(link_loader(graph, data, pairs, mode, 2))
    torch.manual_seed(123)
    shared = list(link_loader(graph, data, pairs, mode, 2, num_workers=2))
    assert_same_batches(shared, alone)


def test_negatives_do_not_depend_on_batches_and_change_with_the_epoch(graph, data, pairs):
    def negatives(**options):
        batches = list(link_loader(graph, data, pairs, "triplet", 2, **options))
        order = torch.cat([batch.input_id for batch in batches]).argsort()
        return torch.cat([batch.n_id[batch.dst_neg_index] for batch in batches])[order]

    first = negatives()
    for options in ({"batch_size": 7}, {"batch_size": 161, "shuffle": True}):
        assert torch.equal(negatives(**options), first)
    for options in ({"epoch": 1}, {"seed": 2}):
        assert (negatives(**options) == first).float().mean() < 0.05
    assert (first[:, 0] == first[:, 1]).float().mean() < 0.05


def test_negatives_are_uniform_or_follow_their_weights():
    """Chi-square; with other seeds each of the four tests would fail once in 1,000 times."""
    graph = PinBoardGraph.from_edges(range(20), [0] * 20)
    sampler = PyGSampler(graph, [PinSAGESampler(num_walks=1)], seed=3)
    weight = torch.arange(20.0)
    zero = torch.zeros(20_000, dtype=torch.int64)
    index = EdgeSamplerInput(None, zero, zero)
    for weights in ((None, None), (weight, weight.flip(0))):
        sampling = NegativeSampling("binary", src_weight=weights[0], dst_weight=weights[1])
        output = sampler.sample_from_edges(index, sampling)
        ends = output.node[output.metadata[1]][:, 20_000:].numpy()
        for end, own in zip(ends, weights, strict=True):
            law = np.ones(20) if own is None else own.numpy()
            counts = np.bincount(end, minlength=20)
            assert (counts[law == 0] == 0).all()
            expected = law[law > 0] / law.sum() * 20_000
            assert chisquare(counts[law > 0], expected).pvalue > 0.001
        assert abs(np.corrcoef(ends)[0, 1]) < 0.03  # four standard deviations


def test_a_weight_of_zero_is_never_drawn_at_the_very_ends():
    """The smallest and the largest random word, and sums that rounding can reach."""
    words = torch.tensor([0, -1])  # the bits of 0 and of 2⁶⁴ - 1
    for weight in (1.0, 1 / 3, 1e-30, 3e7):
        weights = torch.tensor([0, 0, weight, 0.7 * weight, weight, 0, 0])
        assert _choose(words, weights, 7, "dst_weight").tolist() == [2, 4]


def test_a_model_trains_on_links(graph, data, pairs):
    torch.manual_seed(0)
    data.x = torch.randn(PINS, 16)
    model = GraphSAGE(16, 16, num_layers=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        for batch in link_loader(graph, data, pairs, "binary", batch_size=161):
            vectors = model(batch.x, batch.edge_index)
            source, target = vectors[batch.edge_label_index]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                (source * target).sum(1), batch.edge_label
            )
            optimizer.zero_grad()
            loss.backward()
            assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


# The pieces.


def test_neighbors_as_edges(graph):
    found = PinSAGESampler(k=5).sample(graph, [7, 399, 3], seed=1)
    ends, weights = edge_index(found)
    assert ends.dtype == torch.int64
    assert weights.dtype == torch.float32
    assert ends[1].tolist() == [7] * 5 + [3] * 5
    assert ends[0].tolist() == [*found.ids[0], *found.ids[2]]
    assert weights.tolist() == [*found.weights[0], *found.weights[2]]


def test_the_example_of_to_hop(graph):
    found = PinSAGESampler(k=2).sample(graph, [4, 9], seed=1)
    found = replace(found, ids=np.array([[9, 7], [7, 5]]))
    hop = to_hop(np.array([4, 9]), found)
    assert hop.nodes.tolist() == [4, 9, 7, 5]
    assert hop.sources.tolist() == [1, 2, 2, 3]
    assert hop.targets.tolist() == [0, 0, 1, 1]


def test_importing_the_samplers_imports_no_graph_library():
    code = "import sys, pingraph.samplers; print(*{m.split('.')[0] for m in sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "torch_geometric", "dgl"} & set(found.stdout.split())


# Bad input.


def test_a_loader_with_types_or_times_is_refused(graph, data):
    typed = HeteroData()
    typed["pin"].x = data.x
    sampler = PyGSampler(graph, TWO_HOPS, seed=1)
    with pytest.raises(PinGraphError, match="'pin' of heterogeneous data; expected Data"):
        next(iter(NodeLoader(typed, sampler, "pin", batch_size=2)))
    loader = NodeLoader(data, sampler, input_time=torch.zeros(PINS), batch_size=2)
    with pytest.raises(PinGraphError, match=r"hops\[0\] is PinSAGESampler.*expected .* times"):
        next(iter(loader))
    index = EdgeSamplerInput(None, *torch.zeros(2, 3, dtype=torch.int64), time=torch.zeros(3))
    with pytest.raises(PinGraphError, match="times"):
        sampler.sample_from_edges(index)


def test_pins_that_the_graph_lacks_are_refused(graph):
    sampler = PyGSampler(graph, TWO_HOPS, seed=1)
    with pytest.raises(PinGraphError, match=r"seeds\[1\] is 400; expected a pin"):
        sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor([1, 400])))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(399), r"dst_weight has shape \(399,\); expected \(400,\)"),
        (torch.tensor([1.0] * 399 + [-1.0]), r"dst_weight\[399\] is -1.0; expected 0 or more"),
        (torch.tensor([float("nan")] * 400), r"dst_weight\[0\] is nan"),
        (torch.zeros(400), "dst_weight is 0 for every pin"),
    ],
)
def test_bad_weights_of_negatives_are_refused(graph, data, pairs, weights, message):
    loader = LinkLoader(
        data,
        PyGSampler(graph, TWO_HOPS, seed=1),
        pairs,
        neg_sampling=NegativeSampling("triplet", dst_weight=weights),
    )
    with pytest.raises(PinGraphError, match=message):
        next(iter(loader))


@pytest.mark.parametrize("hops", [[], PinSAGESampler(), [PinSAGESampler(), 5]])
def test_what_is_no_list_of_samplers_is_refused(graph, hops):
    with pytest.raises(PinGraphError, match=r"^hops.*expected a"):
        PyGSampler(graph, hops, seed=1)


@pytest.mark.parametrize("value", [-1, 2**64, 0.5, None])
def test_seeds_and_epochs_out_of_range_are_refused(graph, value):
    with pytest.raises(PinGraphError, match=f"^seed is {value}"):
        PyGSampler(graph, TWO_HOPS, seed=value)
    with pytest.raises(PinGraphError, match=f"^epoch is {value}"):
        PyGSampler(graph, TWO_HOPS, seed=1).set_epoch(value)


def test_epochs_are_counted_from_zero(graph):
    sampler = PyGSampler(graph, TWO_HOPS, seed=1)
    assert sampler.epoch == 0
    for before, after in pairwise([0, 2**63 - 1, 3]):
        assert sampler.epoch == before
        sampler.set_epoch(after)
    assert sampler.epoch == 3
