"""The files of a run folder, by name: `fit` writes them, everything later reads them."""

from pathlib import Path

from pingraph.errors import PinGraphError

CONFIG_FILE = "config.yaml"  # of fit, with every default
SPLIT_FILE = "split.safetensors"
TOKENIZER_FILE = "tokenizer.json"
DATA_FILE = "data.json"  # which data set, where, and its fingerprint
CHECKPOINT_FILE = "checkpoints/last.ckpt"
CHECKPOINT_SUFFIX = ".ckpt"
METRICS_FILE = "metrics.json"  # of evaluate
GRID_FILE = "neighbors.png"  # of evaluate
EMBEDDINGS_FILE = "embeddings.parquet"  # of explore


def is_run(path: Path) -> bool:
    """Whether a run is meant: by its folder, or by a checkpoint in it."""
    return path.is_dir() or path.suffix == CHECKPOINT_SUFFIX


def locate_run(path: Path) -> tuple[Path, Path]:
    """Return the folder of the run that is meant, and its checkpoint, which need not be there.

    Raises:
        PinGraphError: a checkpoint is given that is missing, or in no run folder.
    """
    if path.is_dir() or path.suffix != CHECKPOINT_SUFFIX:
        return path, path / CHECKPOINT_FILE
    if not path.is_file():
        raise PinGraphError(f"{path}: no such checkpoint")
    checkpoint = path.resolve()
    folder = next((one for one in checkpoint.parents if (one / CONFIG_FILE).exists()), None)
    if folder is None:
        raise PinGraphError(f"{path} is in no run folder: none above it has {CONFIG_FILE}")
    return folder, checkpoint
