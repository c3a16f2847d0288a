"""The files of a run folder, by name: `fit` writes them, everything later reads them."""

CONFIG_FILE = "config.yaml"  # of fit, with every default
SPLIT_FILE = "split.safetensors"
TOKENIZER_FILE = "tokenizer.json"
DATA_FILE = "data.json"  # which data set, where, and its fingerprint
CHECKPOINT_FILE = "checkpoints/last.ckpt"
CHECKPOINT_SUFFIX = ".ckpt"
METRICS_FILE = "metrics.json"  # of evaluate
GRID_FILE = "neighbors.png"  # of evaluate
EMBEDDINGS_FILE = "embeddings.parquet"  # of explore
