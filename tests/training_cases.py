"""Configurations of trainings that take a second, for the tests that go through `fit`."""

import yaml

from pingraph.fit import fit
from pingraph.runs import Run

SMALL = """
seed_everything: 3
trainer:
  max_steps: 6
  log_every_n_steps: 1
  accelerator: cpu
  enable_progress_bar: false
model:
  encoder:
    class_path: pingraph.encoders.HybridEncoder
    init_args:
      backbone:
        class_path: pingraph.encoders.SmallBackbone
        init_args:
          {image_size: 16, vocab_size: 200, max_tokens: 8, dim: 32, heads: 2, lexicon: none}
      embed_dim: 24
      heads: 2
      features: []
data:
  batch_size: 8
  chunk_size: 5
  num_workers: 0
  sampler: {class_path: pingraph.samplers.PinSAGESampler, init_args: {k: 10}}
"""
EVERYTHING = """
model:
  encoder:
    class_path: pingraph.encoders.HybridEncoder
    init_args:
      backbone: {class_path: pingraph.encoders.SmallBackbone, init_args: {lexicon: minilm}}
  recompute: true
  objective:
    class_path: pingraph.objectives.AlignmentObjective
    init_args:
      form: softmax
      neighbor_pairs: {fused->fused: 1.0, image->text: 0.5}
      logq: true
      bank_size: 16
      views: [{}, {dim: 8}, {code: int8, weight: 0.5}, {dim: 16, code: binary}]
      context: {class_path: pingraph.neighbor_context.NeighborContext, init_args: {kind: tokens}}
data:
  batch_size: 16 # three a pass, since hard negatives come from the second pass on
  neighbors_per_anchor: 3
  negatives:
    - {class_path: pingraph.samplers.UniformNegatives, init_args: {n: 1}}
    - class_path: pingraph.samplers.WalkRankNegatives
      init_args:
        sampler: {class_path: pingraph.samplers.PinSAGESampler, init_args: {k: 30}}
        n: 2
        first: 10
        last: 30
        curriculum: true
"""


def arguments(data, folder, name, config="", **changes):
    """Those of `fit` for a run `folder / name`: SMALL, changed by a YAML and by options."""
    files = []
    for number, text in enumerate((SMALL, config)):
        if text:
            files.append(folder / f"{name}-{number}.yaml")
            files[-1].write_text(text)
    given = {"data.folder": data, "trainer.default_root_dir": folder / name}
    given |= {key.replace("__", "."): value for key, value in changes.items()}
    return [f"--config={file}" for file in files] + [f"--{k}={v}" for k, v in given.items()]


def pretrained(folder, tuning):
    """The YAML of a pretrained backbone in a folder, tuned so."""
    return yaml.safe_dump(
        {
            "model": {
                "encoder": {
                    "class_path": "pingraph.encoders.HybridEncoder",
                    "init_args": {
                        "backbone": {
                            "class_path": "pingraph.encoders.PretrainedBackbone",
                            "init_args": {"name": folder, "tuning": tuning},
                        },
                        "dim": 32,
                    },
                }
            }
        }
    )


def embedded(options):
    """Train with options of `fit`; return the opened run, its data set and the fused vectors."""
    run = Run.open(fit([f"--{name}={value}" for name, value in options.items()]))
    dataset = run.dataset()
    return run, dataset, run.embed(dataset).fused
