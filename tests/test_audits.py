"""The audits are their formulas by hand; the clock counts what it should."""

import csv
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pingraph import audits
from pingraph.audits import TrainingAudit, effective_rank, gradient_norms, modality_gap
from pingraph.errors import PinGraphError
from pingraph.interfaces import Embeddings, PinBatch, PinContent, Relations


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 12), channels=st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_effective_rank_is_rankmes_formula(seed, rows, channels):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, channels, generator=rng, dtype=torch.float64)
    x[:, : channels // 2] *= 0.1
    sizes = torch.linalg.svd(x)[1].tolist()
    shares = [size / sum(sizes) for size in sizes]
    expected = math.exp(-sum(p * math.log(p) for p in shares if p))
    assert effective_rank(x) == pytest.approx(expected, rel=1e-6)
    shown_twice = torch.cat([x, torch.zeros(3, channels, dtype=x.dtype), x])
    assert effective_rank(shown_twice) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("vectors", "rank"),
    [
        (torch.eye(6, 8), 6),
        (torch.eye(4).repeat(5, 1), 4),
        (F.normalize(torch.ones(7, 5), dim=1), 1),
        (torch.zeros(3, 4), 0),
        (torch.zeros(0, 4), 0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_effective_rank_of_clear_cases(vectors, rank, dtype):
    assert effective_rank(vectors.to(dtype)) == pytest.approx(rank, abs=1e-5)


def embeddings(image, text, has_image=None, has_text=None):
    everywhere = torch.ones(len(image), dtype=torch.bool)
    return Embeddings(
        image=image,
        text=text,
        fused=image + text,
        has_image=everywhere if has_image is None else has_image,
        has_text=everywhere if has_text is None else has_text,
    )


def test_effective_rank_of_what_is_not_finite_is_nan():
    vectors = torch.eye(3)
    for bad in (math.nan, math.inf):
        vectors[1, 2] = bad
        assert math.isnan(effective_rank(vectors))


def test_the_modality_gap_is_that_of_the_means_of_pins_with_both():
    image = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 0]])
    text = torch.tensor([[0.0, -1], [-1, 0], [0, 0], [0, 1]])
    found = embeddings(
        image,
        text,
        torch.tensor([True, True, True, False]),
        torch.tensor([True, True, False, True]),
    )
    assert modality_gap(found) == pytest.approx(math.sqrt(2))  # (½, ½) and (−½, −½)
    assert modality_gap(embeddings(image, image)) == 0
    first = torch.tensor([[1.0, 0]]).expand(5, 2)
    assert modality_gap(embeddings(first, -first)) == 2
    nowhere = torch.zeros(4, dtype=torch.bool)
    assert math.isnan(modality_gap(replace(found, has_image=nowhere)))


def across(pull, vectors):
    """What of a gradient is at a right angle to the vectors."""
    return torch.stack(
        [one - one.dot(at) / at.dot(at) * at for one, at in zip(pull, vectors, strict=True)]
    )


def step(weight):
    """Embeddings of a linear encoder, and terms of a loss of them."""
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, 3, generator=rng, dtype=torch.float64) @ weight for _ in range(2))
    found = embeddings(x, y)
    return found, {
        "image_text": (x * y).sum(),
        "fused": 3 * checkpoint(lambda z: z.square().sum(), found.fused, use_reentrant=False),
        "nothing": torch.zeros(()),
        "elsewhere": weight.sum(),
    }


def test_gradient_norms_are_those_of_each_term_and_leave_the_graph():
    weight = torch.eye(3, dtype=torch.float64, requires_grad=True)
    found, terms = step(weight)
    norms = gradient_norms(terms, found)
    x, y = found.image.detach(), found.text.detach()
    # The fused embeddings here are made from the image's and the text's: these are moved by it too.
    # What lies along a vector does not count, since its length is always 1.
    wanted = {
        "image_text": torch.cat([across(y, x), across(x, y)]).norm(),
        "fused": 6 * torch.cat([across(x + y, x), across(x + y, y)]).norm(),
        "nothing": 0,
        "elsewhere": 0,
    }
    assert norms == pytest.approx({name: float(norm) for name, norm in wanted.items()})
    assert weight.grad is None
    sum(terms.values()).backward()
    untouched = torch.eye(3, dtype=torch.float64, requires_grad=True)
    sum(step(untouched)[1].values()).backward()
    assert (weight.grad == untouched.grad).all()


def test_the_shallow_part_is_pulled_at_too():
    x, shallow = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    found = replace(embeddings(x, x), shallow=shallow)
    to = torch.randn(4, 3, dtype=torch.float64)
    terms = {"a": (shallow * to).sum(), "longer": shallow.square().sum()}
    expected = {"a": float(across(to, shallow.detach()).norm()), "longer": 0}
    assert gradient_norms(terms, found) == pytest.approx(expected)


def test_gradients_are_added_over_the_ranks_before_the_norm(monkeypatch):
    found, terms = step(torch.eye(3, dtype=torch.float64, requires_grad=True))
    alone = gradient_norms(terms, found)
    monkeypatch.setattr(audits.distributed, "all_reduce", lambda pull: pull.mul_(2))
    together = gradient_norms(terms, found, ranks=2)
    assert together == pytest.approx({name: 2 * norm for name, norm in alone.items()})


def test_gradient_norms_of_a_frozen_encoder_are_0():
    x = torch.randn(4, 3)
    assert gradient_norms({"a": x.sum()}, embeddings(x, x)) == {"a": 0}


def batch(pins, encoded):
    """A batch of which only what is counted matters: distinct pins, and those of each chunk."""
    places = torch.arange(pins)
    none = places[:0]
    return PinBatch(
        index=0,
        relations=Relations(
            pins=places,
            anchors=none,
            neighbors=none[:, None],
            positive_rows=none,
            positive_columns=none,
            positive_weights=none.float(),
            board_offsets=torch.zeros(pins + 1, dtype=torch.int64),
            boards=none,
            groups=torch.stack([places, places]),
            log_counts=torch.zeros(pins),
        ),
        bounds=(0, pins),
        first_chunk=0,
        content=tuple(
            PinContent(
                images=torch.zeros(size, 3, 1, 1, dtype=torch.uint8),
                has_image=torch.ones(size, dtype=torch.bool),
                tokens=torch.zeros(size, 1, dtype=torch.int64),
                token_mask=torch.ones(size, 1, dtype=torch.bool),
            )
            for size in encoded
        ),
    )


class Clock:
    """Time that passes when told to."""

    now = 100.0

    def __call__(self):
        return self.now

    def batches(self, waits, pins=10, encoded=(6, 4)):
        for wait in waits:
            self.now += wait
            yield batch(pins, encoded)


class Model(LightningModule):
    """A step takes `work` seconds of the clock."""

    def __init__(self, clock, work):
        super().__init__()
        self.clock, self.work = clock, work
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        self.clock.now += self.work
        return self.weight * 2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch

    def on_save_checkpoint(self, checkpoint):
        self.clock.now += 1000


class Loader:
    def __init__(self, make, size):
        self.make, self.size = make, size

    def __len__(self):
        return self.size

    def __iter__(self):
        return self.make()


def run(folder, monkeypatch, *, waits, work, every=2, log_every=2, save_at=(), **counts):
    """Train for a step of each wait; return the rows of speed that were logged."""
    clock = Clock()
    monkeypatch.setattr(audits, "perf_counter", clock)

    class Saver(audits.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step in save_at:
                trainer.save_checkpoint(folder / "x.ckpt")

    trainer = Trainer(
        accelerator="cpu",
        callbacks=[TrainingAudit(every_n_steps=every), Saver()],
        logger=CSVLogger(folder, "csv"),
        log_every_n_steps=log_every,
        max_steps=len(waits),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = Loader(lambda: clock.batches(waits, **counts), len(waits))
    trainer.fit(Model(clock, work), loader)
    with (folder / "csv" / "version_0" / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_the_clock_splits_a_step_into_waiting_and_work(tmp_path, monkeypatch):
    # What comes before the first step is no waiting for data, but the start of the run.
    rows = run(tmp_path, monkeypatch, waits=[50, 1, 0, 3, 1, 1], work=3)
    assert [row["step"] for row in rows] == [1, 3, 5]
    assert [row["speed/data_wait_share"] for row in rows] == pytest.approx([1 / 7, 3 / 9, 2 / 8])
    speeds = [20 / 7, 20 / 9, 20 / 8]
    assert [row["speed/pins_per_second"] for row in rows] == pytest.approx(speeds)
    assert [row["speed/encoded_per_pin"] for row in rows] == [1, 1, 1]


def test_what_a_checkpoint_delays_is_not_waited_for(tmp_path, monkeypatch):
    rows = run(tmp_path, monkeypatch, waits=[0, 1, 1, 1], work=1, save_at=(1, 2))
    assert [row["speed/data_wait_share"] for row in rows] == pytest.approx([0, 1 / 3])
    assert rows[0]["speed/pins_per_second"] == pytest.approx(20 / 2)


def test_pins_that_are_encoded_twice_are_told(tmp_path, monkeypatch):
    rows = run(tmp_path, monkeypatch, waits=[0, 0], work=1, pins=8, encoded=(8, 4))
    assert rows[0]["speed/encoded_per_pin"] == 1.5


def test_a_clock_that_stands_gives_no_division_by_zero(tmp_path, monkeypatch):
    rows = run(tmp_path, monkeypatch, waits=[0, 0], work=0)
    assert rows[0]["speed/data_wait_share"] == 0


def test_steps_that_lightning_would_not_log_are_refused(tmp_path, monkeypatch):
    with pytest.raises(PinGraphError, match=r"every_n_steps is 3: expected a multiple of .*, 2"):
        run(tmp_path, monkeypatch, waits=[0, 0], work=0, every=3)
    with pytest.raises(PinGraphError, match="every_n_steps is 0"):
        TrainingAudit(every_n_steps=0)
