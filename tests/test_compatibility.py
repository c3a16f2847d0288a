"""What new vectors are worth in one space, in a turned one, and with other widths, is forced."""

import json

import numpy as np
import pytest

from pingraph.compatibility import compatibility, rotation
from pingraph.errors import PinGraphError
from pingraph.splits import PinSplit
from tests.table_cases import alike_table, orthogonal, random_vectors, unit


def test_rotation_finds_the_map_that_was_used():
    old, turn = random_vectors(11), orthogonal(12, 6)
    new = old @ turn
    found = rotation(new, old, np.arange(20))
    assert found == pytest.approx(turn.T, abs=1e-5)
    wide = rotation(random_vectors(13, width=9), old, np.arange(50))
    assert wide.T @ wide == pytest.approx(np.eye(6), abs=1e-5)
    # No other orthogonal map comes nearer.
    other = random_vectors(14)
    best = np.linalg.norm(other @ rotation(other, old, np.arange(50)) - old)
    for seed in range(30):
        assert best <= np.linalg.norm(other @ orthogonal(seed, 6) - old)


def board_vectors(dataset, noise, seed):
    """Vectors that know the boards of a pin, more or less."""
    incidence = dataset.graph.incidence().toarray()
    rng = np.random.default_rng(seed)
    return unit(incidence + noise * rng.normal(size=incidence.shape))


def test_compatibility(tiny):
    split = PinSplit(0.3).split(tiny)
    old, new = board_vectors(tiny, 0.9, 0), board_vectors(tiny, 0.3, 1)
    width = old.shape[1]
    turned = new @ orthogonal(2, width)
    tables = {
        name: alike_table(tiny.pin_ids, v)
        for name, v in {"old": old, "new": new, "turned": turned}.items()
    }
    told = compatibility(tables["old"], tables["new"], tiny, split)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    warm = told["warm"]
    # One space: queries that know more find more in the old index, and all of it in a new one.
    assert warm["old"]["value"] < warm["new_on_old"]["value"] < warm["new"]["value"]
    assert 0 < warm["gain"] < 1
    assert warm["compatible"] is True
    expected = warm["new_on_old"]["value"] - warm["old"]["value"]
    assert warm["difference"]["value"] == pytest.approx(expected)
    assert warm["gain"] == pytest.approx(expected / (warm["new"]["value"] - warm["old"]["value"]))
    # Another space: useless until it is turned back.
    other = compatibility(tables["old"], tables["turned"], tiny, split)["warm"]
    assert other["new"]["value"] == pytest.approx(warm["new"]["value"], abs=0.02)
    assert other["compatible"] is False
    assert other["gain"] < 0 < other["gain_rotated"]
    same = compatibility(tables["old"], tables["old"], tiny, split)["warm"]
    assert (same["gain"], same["compatible"], same["difference"]["value"]) == (None, None, 0)


def test_compatibility_of_other_widths(tiny):
    split = PinSplit(0.3).split(tiny)
    old = alike_table(tiny.pin_ids, board_vectors(tiny, 1, 0)[:, :9])
    new = alike_table(tiny.pin_ids, board_vectors(tiny, 0.3, 1))
    told = compatibility(old, new, tiny, split)["warm"]
    assert told["new_on_old"] is told["gain"] is told["compatible"] is None
    assert "widths differ" in told["reason"]
    assert told["rotated"]["value"] > 0
    with pytest.raises(PinGraphError, match="of other pins"):
        compatibility(alike_table(tiny.pin_ids[::-1], old.fused), new, tiny, split)
