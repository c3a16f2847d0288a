"""Pins whose words no training text has: a lexicon knows where they belong, and nothing else does.

Each pin has one word that no other pin has, of letters by chance; the lexicon puts it near the
other words of its topic, and boards are of one topic each.
"""

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

from tests.training_cases import embedded

PINS, TOPICS, WIDTH = 160, 4, 12
OPTIONS = {
    "model.encoder.embed_dim": 16,
    "model.encoder.backbone.image_size": 8,
    "model.encoder.backbone.vocab_size": 400,
    "model.encoder.backbone.dim": 16,
    "data.batch_size": 32,
    "data.num_workers": 0,
    "trainer.max_steps": 40,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": False,
}


@pytest.fixture
def words():
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("abcdefghijklmnop"), 8)) for _ in range(PINS)]


@pytest.fixture
def lexicon(words, tmp_path):
    """A folder whose vectors of a topic's words are near each other, among noise."""
    rng = np.random.default_rng(1)
    topics = rng.normal(size=(TOPICS, WIDTH))
    vectors = topics[np.arange(PINS) % TOPICS] + 0.5 * rng.normal(size=(PINS, WIDTH))
    folder = tmp_path / "lexicon"
    folder.mkdir()
    vocabulary = {"[UNK]": 0} | {word: number for number, word in enumerate(words, 1)}
    Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    table = np.concatenate([np.zeros((1, WIDTH)), vectors]).astype(np.float32)
    save_file({"embeddings.word_embeddings.weight": table}, folder / "model.safetensors")
    return folder


def share_of_topic(folder, run, lexicon):
    """How often the nearest training pin of a cold pin is of its topic."""
    given = OPTIONS | {
        "data.folder": folder,
        "trainer.default_root_dir": run,
        "model.encoder.backbone.lexicon": lexicon,
        "model.encoder.features": [],
    }
    opened, dataset, fused = embedded(given)
    cold, train = opened.split.cold_pins(dataset.graph), opened.split.train_pins
    nearest = train[(fused[cold] @ fused[train].T).argmax(1)]
    return (nearest % TOPICS == cold % TOPICS).mean()


def test_cold_pins_of_unseen_words_are_found_by_the_lexicon(words, lexicon, write_folder, tmp_path):
    rng = np.random.default_rng(2)
    pins = np.repeat(np.arange(PINS), 4)
    boards = TOPICS * rng.integers(0, 8, len(pins)) + pins % TOPICS
    folder = write_folder(
        pins={"pin_id": [f"p{pin}" for pin in range(PINS)], "text": words},
        boards={
            "board_id": [f"b{board}" for board in range(8 * TOPICS)],
            "title": [""] * 8 * TOPICS,
        },
        edges={
            "pin_id": [f"p{pin}" for pin in pins],
            "board_id": [f"b{board}" for board in boards],
        },
    )
    assert share_of_topic(folder, tmp_path / "with", lexicon) > 0.85
    by_chance = 1 / TOPICS
    assert share_of_topic(folder, tmp_path / "without", "none") < by_chance + 0.2
