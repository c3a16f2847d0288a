"""Going on with a run: in its own folder, with its own checkpoint and the model it began with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from pingraph.errors import PinGraphError
from pingraph.run_files import CONFIG_FILE
from pingraph.runs import read_config
from pingraph.weights import check_state, read_state

# Of the data: what is compared by its content (the data module does), or changes no batch.
_FREE = ("folder", "split", "num_workers", "on_broken_image")
# Of the trainer: what makes a step.
_STEPS = (
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
)


def check_resumable(
    checkpoint: Path, folder: Path, module: nn.Module, config: dict[str, Any]
) -> None:
    """Check that a run can go on from a checkpoint, before anything is written.

    Args:
        checkpoint: a file.
        folder: the run folder to write to.
        module: what is to be trained.
        config: of the same form as config.yaml.

    Raises:
        PinGraphError: the checkpoint is missing, damaged, of another model or of another run; or an
            option that the rest of the training rests on is not what it was, such as a learning
            rate, which the optimizer's state would override.
    """
    check_state(module, read_state(checkpoint), str(checkpoint))
    if folder.resolve() not in checkpoint.resolve().parents:
        raise PinGraphError(
            f"{checkpoint} is not of the run in {folder}: a run goes on in its own folder"
        )
    then = read_config(folder / CONFIG_FILE)
    for key, value, now in _differences(_kept(then), _kept(config)):
        raise PinGraphError(f"{key} is {now!r}, but {folder} was begun with {value!r}")


def _kept(config: dict[str, Any]) -> dict[str, Any]:
    """The options that have to stay what they were."""
    data = {key: value for key, value in config["data"].items() if key not in _FREE}
    trainer = {key: config["trainer"].get(key) for key in _STEPS}
    seed = config["seed_everything"]
    return {"seed_everything": seed, "model": config["model"], "data": data, "trainer": trainer}


def _differences(then: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in {**then, **now}:
            yield from _differences(then.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif then != now:
        yield key, then, now
