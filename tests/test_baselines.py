"""Cheap baselines are what they say, learn from training pins alone, and may be left out."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from pingraph.baselines import SIDE, baseline_scorers, raw_pixels, tf_idf
from pingraph.datasets import BrokenImageError, open_dataset
from pingraph.evaluation import evaluate_scorers
from pingraph.splits import PinSplit


class TrainedOn:
    """All that a baseline asks of a split."""

    def __init__(self, *pins):
        self.train_pins = np.array(pins)


def all_scores(scorer, dataset):
    return scorer(np.arange(dataset.num_pins))


def texts(write_folder, *words):
    ids = [f"p{row}" for row in range(len(words))]
    edges = {"pin_id": ids, "board_id": [10] * len(ids)}
    return open_dataset(write_folder(pins={"pin_id": ids, "text": list(words)}, edges=edges))


def test_tf_idf_equals_a_loop(write_folder):
    dataset = texts(write_folder, "red fox", "Red red sky", "blue sky", "a fox", None)
    words = [(text or "").lower().split() for text in dataset.texts]
    count = len(words)

    def vector(document):
        weights = {}
        for word in document:
            frequency = sum(word in other for other in words)
            weights[word] = document.count(word) * (np.log((1 + count) / (1 + frequency)) + 1)
        length = np.sqrt(sum(weight**2 for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()}

    vectors = [vector(document) for document in words]
    expected = [[sum(a[w] * b.get(w, 0) for w in a) for b in vectors] for a in vectors]
    scores = all_scores(tf_idf(dataset, TrainedOn(0, 1, 2, 3, 4)), dataset)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(np.array(expected), abs=1e-6)
    assert (scores[4] == 0).all()


def test_words_of_held_out_pins_count_for_nothing(write_folder):
    dataset = texts(write_folder, "red fox", "blue sky", "secret fox", "secret sky")
    scores = all_scores(tf_idf(dataset, TrainedOn(0, 1)), dataset)
    # Were "secret" known, 2 and 3 would be alike, and 2 not wholly like 0.
    assert scores[2, 3] == 0
    assert scores[2, 0] == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("words", [("", ""), ("...", "!"), (None, None)])
def test_without_words_there_is_no_tf_idf(write_folder, words):
    dataset = texts(write_folder, *words)
    assert tf_idf(dataset, TrainedOn(0, 1)) is None
    assert baseline_scorers(dataset, TrainedOn(0, 1)) == {}


def test_every_script_and_single_letters_are_words(write_folder):
    dataset = texts(write_folder, "猫 Б x", "猫", "Б", "X")
    assert (all_scores(tf_idf(dataset, TrainedOn(0)), dataset)[0] > 0).all()


def test_pixels_are_correlations(tiny):
    scores = all_scores(raw_pixels(tiny), tiny)
    assert scores.dtype == np.float32
    there = np.flatnonzero(tiny.has_image)
    pixels = np.stack([tiny.pixels(pin, SIDE).ravel() for pin in there]).astype(float)
    # A picture of one gray has no correlation; the world draws none.
    assert scores[np.ix_(there, there)] == pytest.approx(np.corrcoef(pixels), abs=1e-4)
    assert (scores[~tiny.has_image] == 0).all()
    assert (scores[:, ~tiny.has_image] == 0).all()


def test_flat_pictures_score_zero(write_folder):
    from PIL import Image

    from pingraph.images import encode_png

    white = encode_png(Image.new("RGB", (8, 8), "white"))
    pins = {"pin_id": list("abcd"), "image": [white] * 4}
    scores = all_scores(raw_pixels(dataset := open_dataset(write_folder(pins=pins))), dataset)
    assert (scores == 0).all()


def test_a_broken_image_is_named(write_folder):
    table = {"pin_id": list("abcd"), "image": [None, None, b"no image", None]}
    with pytest.raises(BrokenImageError, match="'c'"):
        raw_pixels(open_dataset(write_folder(pins=table)))


def test_baselines_are_evaluated_as_any_method(tiny, write_folder):
    split = PinSplit(0.3).split(tiny)
    made = baseline_scorers(tiny, split)
    assert set(made) == {"tf_idf", "raw_pixels"}
    for scorers in made.values():
        done = evaluate_scorers(scorers, tiny, split).to_dict()
        assert done["warm"]["pin_to_pin"]["recall@10"]["value"] > 0
        assert done["warm"]["image_to_text"] is None
    tables = {
        name: pq.read_table(tiny.folder / f"{name}.parquet") for name in ("pins", "boards", "edges")
    }
    blind = open_dataset(write_folder(**{**tables, "pins": tables["pins"].drop(["image"])}))
    assert set(baseline_scorers(blind, PinSplit(0.3).split(blind))) == {"tf_idf"}
