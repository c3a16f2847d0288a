"""Training of a CLIP ViT-B/16 at 224 pixels on a GPU in bf16: pins/s, and the share of its FLOP/s.

python -m pingraph.experiments.benchmarks.gpu_training [--quick] [--json FILE]

The model has the sizes of openai/clip-vit-base-patch16 and random weights: nothing is downloaded.
Without a GPU only --quick runs, a much smaller model on the CPU: it shows that the code is right.
"""

import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from pingraph.batches import PinBatches
from pingraph.cores import cores
from pingraph.devices import default_device, moved
from pingraph.encoders import HybridEncoder
from pingraph.experiments.benchmarks.common import Heat, finish, parse_arguments, show
from pingraph.experiments.benchmarks.training import (
    WARM,
    bare_run,
    lightning_run,
    make_batches,
    now,
    speed_heat,
)
from pingraph.objectives import AlignmentObjective
from pingraph.world import World

# Dense bf16 FLOP/s of NVIDIA's data sheets, of the SXM form.
DATA_SHEET = {"NVIDIA H100 80GB HBM3": 989.4e12, "NVIDIA H200": 989.4e12}
CHUNK = 4096  # pins: a batch is one chunk
WORKERS = min(12, max(1, cores() - 2))


def main() -> None:
    arguments = parse_arguments(__doc__ or "", steps=55, anchors=256, rounds=2)
    if not torch.cuda.is_available() and not arguments.quick:
        raise SystemExit("torch finds no GPU: only --quick runs, on the CPU")
    with tempfile.TemporaryDirectory() as scratch:
        model, world = Path(scratch, "clip"), Path(scratch, "world")
        save_clip(model, small=arguments.quick)
        if arguments.quick:
            arguments.steps, arguments.anchors, arguments.rounds = 15, 16, 1
        pins = 256 if arguments.quick else 2048
        World(num_pins=pins, num_boards=pins // 8, image_size=64).write(world)
        # On a CPU it compiles for minutes.
        ways = [False] if arguments.quick else [True, False]
        heats = []
        for compiled in ways:
            race = Race(str(model), str(world), arguments.steps, arguments.anchors, compiled)
            for heat in (race.one_batch(), race.training(arguments.rounds)):
                heats.append(heat)
                show(heat)
        finish(heats, arguments)


@dataclass(frozen=True)
class Race:
    """A model and batches to train it on."""

    model: str
    world: str
    steps: int
    anchors: int
    compiled: bool

    def training(self, rounds: int) -> Heat:
        """Race `pingraph fit` against a bare loop, and tell how much of the GPU each uses."""
        options = [
            f"--data.folder={self.world}",
            f"--data.batch_size={self.anchors}",
            f"--data.chunk_size={CHUNK}",
            f"--data.num_workers={WORKERS}",
            f"--model.encoder.backbone={self.model}",
            f"--model.compile={str(self.compiled).lower()}",
            "--trainer.precision=bf16-mixed",
        ]
        heat = speed_heat(
            f"bf16, {self._way}, {self.anchors} anchors a batch",
            lambda: lightning_run(options, self.steps),
            lambda: self._bare(self._batches(), num_workers=WORKERS),
            rounds=rounds,
        )
        return self._told(heat)

    def one_batch(self) -> Heat:
        """Time the bare loop on one batch that is on the device: nothing is read or copied."""
        batch = moved(self._batches()[0], default_device())
        seconds = self._bare([batch] * self.steps)
        return self._told(
            Heat(
                title=f"bf16, {self._way}, the same batch of {self.anchors} anchors in each step",
                seconds={"bare PyTorch loop": [seconds]},
                work=(self.steps - WARM) * len(batch.relations.pins),
                unit="pins",
            )
        )

    @property
    def _way(self) -> str:
        return "compiled" if self.compiled else "not compiled"

    def _batches(self) -> PinBatches:
        encoder = HybridEncoder(self.model)
        sizes = {"batch_size": self.anchors, "chunk_size": CHUNK}
        return make_batches(self.world, encoder, self.steps, **sizes)

    def _bare(self, batches: Dataset | list, *, num_workers: int = 0) -> float:
        torch.manual_seed(0)
        encoder = HybridEncoder(self.model)
        if self.compiled:
            encoder.compile(dynamic=True)
        return bare_run(encoder, batches, num_workers=num_workers, bf16=True)

    def _told(self, heat: Heat) -> Heat:
        per_pin = flops_per_pin(self.model, self.world, self.anchors)
        notes = {}
        for name, seconds in heat.medians().items():
            flops = heat.work * per_pin / seconds
            words = f"{flops / 1e12:.0f} TFLOP/s{_shares(flops)} {heat.notes.get(name, '')}"
            notes[name] = words.strip()
        notes[name] += f"; {per_pin / 1e9:.0f} GFLOP a pin"
        return replace(heat, notes=notes)


@cache
def flops_per_pin(model: str, world: str, anchors: int) -> float:
    """Count the FLOPs of a step's products and attention, as torch counts them, over its pins."""
    device = default_device()
    encoder, objective = HybridEncoder(model), AlignmentObjective().to(device)
    batch = make_batches(world, encoder, 1, batch_size=anchors, chunk_size=CHUNK)[0]
    encoder.to(device)
    counter = FlopCounterMode(display=False)
    with counter, torch.autocast(device.type, torch.bfloat16):
        embeddings = encoder(moved(batch.content[0], device))
        objective(embeddings, moved(batch.relations, device)).total.backward()
    return counter.get_total_flops() / len(batch.relations.pins)


@cache
def product_flops() -> float:
    """Return the FLOP/s of a product of two bf16 matrices of 8,192 numbers of a side."""
    size, device = 8192, default_device()
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)

    def seconds(products: int) -> float:
        started = now()
        for _ in range(products):
            a @ b
        return now() - started

    seconds(5)
    return 30 * 2 * size**3 / seconds(30)


def _shares(flops: float) -> str:
    if not torch.cuda.is_available():
        return ""
    shares = f", {flops / product_flops():.0%} of a product of matrices"
    peak = DATA_SHEET.get(torch.cuda.get_device_name())
    return f"{shares}, {flops / peak:.1%} of the peak (MFU);" if peak else f"{shares};"


def save_clip(folder: Path, *, small: bool) -> None:
    """Write a CLIP of random weights: ViT-B/16 with its text model, or one of two thin layers."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    torch.manual_seed(0)
    tokenizer = _tokenizer()
    ids = {f"{name}_token_id": tokenizer.eos_token_id for name in ("bos", "eos", "pad")}
    text = {"vocab_size": 49408, **ids}
    vision = {"patch_size": 16}
    if small:
        thin = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        text, vision = text | thin, vision | thin
        text["num_attention_heads"] = vision["num_attention_heads"] = 4
    config = CLIPConfig(text_config=text, vision_config=vision)
    for part in (CLIPModel(config), CLIPImageProcessorPil(), tokenizer):
        part.save_pretrained(folder)


def _tokenizer():
    """Return CLIP's tokenizer with the bytes for its vocabulary, so a text has many tokens."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


if __name__ == "__main__":
    main()
