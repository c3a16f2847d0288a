"""A world whose topics are known: the graph teaches what content hides, and noise teaches nothing.

Each topic has three looks that share nothing to be seen or read; only boards know that they belong
together. So the nearest pins of other looks say what was learned from the graph.
"""

import numpy as np
import pyarrow.parquet as pq
import pytest

from pingraph.world import World
from tests.training_cases import embedded

TOPICS, LOOKS = 9, 3
OPTIONS = {
    "model.encoder.embed_dim": 32,
    "model.encoder.backbone.image_size": 16,
    "model.encoder.backbone.vocab_size": 600,
    "model.encoder.backbone.dim": 32,
    "model.encoder.backbone.vision_depth": 1,
    "model.encoder.backbone.dropout": 0.0,
    "model.encoder.backbone.lexicon": "none",
    "model.encoder.features": [],
    "model.encoder.backbone.word_dropout": 0.0,
    "model.encoder.dropout": 0.0,
    "model.encoder.input_dropout": 0.0,
    "model.learning_rate": 0.004,
    "data.batch_size": 64,
    "data.num_workers": 0,
    "trainer.max_steps": 60,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": False,
}


def topic_share(tmp_path, neighbor_weight, board_noise):
    """How often the nearest pin of another look, of a cold pin, has its topic."""
    folder = tmp_path / f"world-{board_noise}"
    if not folder.exists():
        world = World(
            num_pins=500,
            num_boards=100,
            num_topics=TOPICS,
            looks=LOOKS,
            saves_per_pin=5,
            image_noise=0,
            text_noise=0,
            board_noise=board_noise,
            image_size=16,
        )
        world.write(folder)
    run = tmp_path / f"run-{neighbor_weight}-{board_noise}"
    given = {
        **OPTIONS,
        "data.folder": folder,
        "trainer.default_root_dir": run,
        "model.objective.neighbor_weight": neighbor_weight,
    }
    opened, dataset, fused = embedded(given)
    truth = pq.read_table(folder / "pins.parquet", columns=["topic", "look"]).to_pydict()
    topic, look = np.array(truth["topic"]), np.array(truth["look"])
    cold = opened.split.cold_pins(dataset.graph)
    scores = fused[cold] @ fused.T
    same_look = (topic[cold][:, None] == topic) & (look[cold][:, None] == look)
    nearest = np.where(same_look, -np.inf, scores).argmax(1)
    return (topic[nearest] == topic[cold]).mean()


def test_topics_are_recovered_from_boards_and_only_from_boards_that_know(tmp_path):
    """By chance two of the 26 other looks are of the pin's topic: 8%."""
    by_content = topic_share(tmp_path, 0.0, board_noise=0.0)
    by_graph = topic_share(tmp_path, 1.0, board_noise=0.0)
    by_noise = topic_share(tmp_path, 1.0, board_noise=1.0)
    chance = (LOOKS - 1) / (TOPICS * LOOKS - 1)
    assert by_content == pytest.approx(chance, abs=0.12)
    assert by_graph > 0.8
    assert by_noise == pytest.approx(chance, abs=0.12)
