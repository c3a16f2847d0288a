"""The knobs of a synthetic world do what they say, each alone, measured on what was written."""

import io
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pingraph.datasets import open_dataset
from pingraph.errors import PinGraphError
from pingraph.scenes import HUES, NUM_LOOKS, SHAPES, TEXTURES, draw_picture
from pingraph.world import START, YEAR, World

SMALL = {"num_pins": 400, "num_boards": 80, "num_topics": 8, "image_size": 8}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A function from knobs to (pins, boards, edges) as dicts of arrays, and the data set."""
    made = {}

    def make(**knobs):
        key = json.dumps(knobs, sort_keys=True)
        if key not in made:
            folder = tmp_path_factory.mktemp("world") / "world"
            World(**(SMALL | knobs)).write(folder)
            tables = []
            for name in ("pins", "boards", "edges"):
                table = pq.read_table(folder / f"{name}.parquet")
                tables.append({c: np.array(table[c].to_pylist()) for c in table.column_names})
            made[key] = (*tables, open_dataset(folder))
        return made[key]

    return make


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_image_noise(make, share):
    pins, *_ = make(image_noise=share, repin_share=0)
    assert (pins["image_topic"] != pins["topic"]).mean() == pytest.approx(share)
    right = pins["image_topic"] == pins["topic"]
    assert (pins["image_look"] == pins["look"])[right].all()
    assert (pins["text_topic"] != pins["topic"]).mean() == pytest.approx(0.1)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_text_noise(make, share):
    pins, *_ = make(text_noise=share)
    assert (pins["text_topic"] != pins["topic"]).mean() == pytest.approx(share)
    right = pins["text_topic"] == pins["topic"]
    assert (pins["text_look"] == pins["look"])[right].all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_board_noise(make, share):
    pins, boards, edges, _ = make(board_noise=share, popularity_skew=0, saves_per_pin=4)
    astray = pins["topic"][edges["pin_id"]] != boards["topic"][edges["board_id"]]
    assert astray.mean() == pytest.approx(share * 7 / 8, abs=0.04)
    if share == 0:
        assert not astray.any()


def test_topics_are_the_components_where_nothing_goes_astray(make):
    *_, dataset = make(board_noise=0.0, fresh_share=0)
    assert dataset.graph.connected_share() < 0.3
    *_, dataset = make(board_noise=0.3, fresh_share=0)
    assert dataset.graph.connected_share() == 1


def test_popularity_skew(make):
    flat = make(popularity_skew=0, saves_per_pin=4)[3].graph
    steep = make(popularity_skew=1.2, saves_per_pin=4)[3].graph
    for even, skewed in (
        (flat.pin_degrees, steep.pin_degrees),
        (flat.board_degrees, steep.board_degrees),
    ):
        assert skewed.max() > 2 * even.max()
        assert np.sort(skewed)[-len(skewed) // 10 :].sum() > 1.5 * np.sort(even)[
            -len(even) // 10 :
        ].sum() * (skewed.sum() / even.sum())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_repins(make, share):
    pins, _, _, dataset = make(repin_share=share, missing_image=0.05)
    repins = np.flatnonzero([origin is not None for origin in pins["repin_of"]])
    assert len(repins) == round(share * 400)
    origins = pins["repin_of"][repins].astype(int)
    assert (origins < repins).all()
    assert not np.isin(origins, repins).any()
    for column in ("topic", "look", "image_topic", "image_look"):
        assert (pins[column][origins] == pins[column][repins]).all()
    assert (dataset.image_groups[repins] == dataset.image_groups[origins]).all()
    originals = np.setdiff1d(np.flatnonzero(dataset.has_image), repins)
    assert len(set(dataset.image_groups[originals].tolist())) == len(originals)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_fresh_pins_are_the_youngest_and_the_only_unsaved(make, share):
    pins, _, _, dataset = make(fresh_share=share)
    unsaved = np.flatnonzero(dataset.graph.pin_degrees == 0)
    assert unsaved.tolist() == list(range(400 - round(share * 400), 400))
    assert (np.diff(pins["created"]) >= 0).all()


def test_missing_modalities(make):
    *_, dataset = make(missing_text=0.6, missing_image=0.4, repin_share=0)
    assert dataset.has_text.sum() == 160
    assert dataset.has_image.sum() == 240
    assert (dataset.has_text | dataset.has_image).all()


def test_saves_are_distinct_after_creation_and_as_many_as_asked(make):
    pins, _, edges, dataset = make(popularity_skew=0, saves_per_pin=5, fresh_share=0)
    assert dataset.graph.num_edges == len(edges["pin_id"])
    assert 0.9 < dataset.graph.num_edges / (400 * 5) <= 1
    assert (edges["time"] >= pins["created"][edges["pin_id"]]).all()
    assert edges["time"].min() >= START
    assert edges["time"].max() <= START + YEAR


@pytest.mark.parametrize(
    ("knob", "value", "same"),
    [
        ("text_noise", 0.7, ["image", "image_topic", "topic", "repin_of", "edges"]),
        ("image_noise", 0.7, ["text", "text_topic", "topic", "repin_of", "edges"]),
        ("board_noise", 0.7, ["text", "image", "topic", "created"]),
        ("missing_text", 0.5, ["image", "topic", "edges", "text_topic"]),
        ("popularity_skew", 0.0, ["text", "image", "topic", "repin_of"]),
        ("fresh_share", 0.4, ["text", "image", "topic"]),
    ],
)
def test_a_knob_leaves_what_the_others_decide(make, knob, value, same):
    one, two = make(), make(**{knob: value})
    assert one[3].fingerprint != two[3].fingerprint
    for column in same:
        if column == "edges":
            assert one[3].graph == two[3].graph
        else:
            assert (one[0][column] == two[0][column]).all(), column


def test_one_recipe_one_world(make, tmp_path):
    World(**SMALL).write(tmp_path / "again")
    assert open_dataset(tmp_path / "again").fingerprint == make()[3].fingerprint
    assert make(seed=1)[3].fingerprint != make()[3].fingerprint
    recipe = pq.read_schema(tmp_path / "again" / "pins.parquet").metadata[b"pingraph.world"]
    assert World(**json.loads(recipe)) == World(**SMALL)


def test_words_tell_the_look_and_looks_of_a_topic_share_none(make):
    pins, *_ = make(text_noise=0, missing_text=0)
    filler = set.intersection(*[spoken(pins, topic) for topic in range(8)])
    vocabularies = {}
    for topic in range(8):
        for look in range(3):
            vocabularies[topic, look] = spoken(pins, topic, look) - filler
    for key, words in vocabularies.items():
        assert words
        others = set().union(*(other for k, other in vocabularies.items() if k != key))
        assert not words & others


def spoken(pins, topic, look=None):
    chosen = (pins["topic"] == topic) & ((look is None) | (pins["look"] == look))
    return {word for text in pins["text"][chosen] for word in text.split()}


def test_pictures_of_a_look_are_alike_in_hue(make):
    pins, *_ = make(image_size=24, missing_image=0.0, image_noise=0, repin_share=0)
    looks = pins["topic"] * 3 + pins["look"]
    hues = np.array([main_hue(data) for data in pins["image"]])
    for look in range(24):
        angles = np.exp(2j * np.pi * hues[looks == look])
        assert abs(angles.mean()) > 0.9


def main_hue(data):
    hsv = np.asarray(Image.open(io.BytesIO(data)).convert("HSV")).reshape(-1, 3) / 255
    colored = hsv[hsv[:, 1] > 0.6]
    return np.angle(np.exp(2j * np.pi * colored[:, 0]).mean()) / (2 * np.pi)


def test_looks_differ_and_pictures_vary():
    assert len(SHAPES) * HUES * len(TEXTURES) == NUM_LOOKS
    pictures = [draw_picture(code, 24, np.random.default_rng(0)) for code in range(NUM_LOOKS)]
    assert len({picture.tobytes() for picture in pictures}) == NUM_LOOKS
    again = draw_picture(5, 24, np.random.default_rng(1))
    assert np.abs(again.astype(int) - pictures[5]).mean() > 5


@pytest.mark.parametrize(
    "knobs",
    [
        {"image_noise": 1.1},
        {"text_noise": -0.1},
        {"board_noise": float("nan")},
        {"num_pins": 0},
        {"num_boards": 3},
        {"looks": 3, "num_topics": 100, "num_boards": 200},
        {"missing_text": 0.6, "missing_image": 0.6},
        {"repin_share": 0.96},
        {"fresh_share": 1.0},
        {"saves_per_pin": 0.5},
        {"popularity_skew": -1},
        {"num_topics": 1},
        {"seed": -1},
    ],
)
def test_impossible_knobs_are_refused(knobs):
    with pytest.raises(PinGraphError, match=rf"world: {next(iter(knobs))} is"):
        World(**knobs)


def test_a_knob_is_told_beside_the_number_that_it_depends_on():
    for knobs, words in (
        ({"num_boards": 3}, "expected num_topics (16) or more"),
        ({"num_topics": 100, "looks": 3}, "expected 288 / num_topics (100) at most"),
    ):
        with pytest.raises(PinGraphError, match=re.escape(words)):
            World(**knobs)


@pytest.mark.parametrize("pins", [1, 2, 3])
def test_the_smallest_worlds_can_be_made(tmp_path, pins):
    World(num_pins=pins, num_boards=2, num_topics=2, image_size=1).write(tmp_path / "w")
    assert open_dataset(tmp_path / "w").num_pins == pins
