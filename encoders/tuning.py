"""Which part of a pretrained backbone is trained: all, nothing, the last layers, or LoRA.

LoRA: arXiv 2106.09685. Layer-wise decay of the learning rate: ELECTRA (arXiv 2003.10555), with the
exponents of BEiT (arXiv 2106.08254).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn
from torch.utils.checkpoint import checkpoint

from pingraph.encoders.backbone import Backbone
from pingraph.errors import PinGraphError

Part = nn.Module | nn.Parameter
_PRETRAINED = 0.01  # of the learning rate: docs/tuning.md


@dataclass(frozen=True, kw_only=True)
class Tower:
    """The parts of a transformer, in the order that its input passes through them."""

    before: tuple[Part, ...]  # patch or word embedding, positions, class token
    layers: nn.ModuleList
    after: tuple[Part, ...] = ()  # last norm, pooler, projection


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What of a pretrained backbone is trained, and how.

    Args:
        train: "all" of both towers; "nothing" (a frozen backbone, whose tokens are computed once);
            "last" trains the last `layers` layers of each tower and what comes after them; "lora"
            trains low-rank changes of the linear maps of the attention of all layers.
        layers: with train "last", how many layers of each tower.
        rank: with train "lora", the rank of the changes.
        learning_rate_scale: what the learning rate is multiplied with in the whole backbone, since
            what stands on it starts from nothing; None stands for 0.01, and for 1 with train
            "lora", whose changes start from nothing too.
        layer_decay: the learning rate of layer i of L is multiplied with layer_decay^(L + 1 - i),
            where what stands before the layers counts as layer 0 and what comes after as L + 1;
            1 leaves all alike.
        checkpointing: compute the activations of the layers anew in the backward pass.

    Raises:
        PinGraphError: a value out of its range, or `layers` or `rank` with another `train`.
    """

    train: Literal["all", "nothing", "last", "lora"] = "all"
    layers: int | None = None
    rank: int | None = None
    learning_rate_scale: float | None = None
    layer_decay: float = 1.0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.train not in ("all", "nothing", "last", "lora"):
            raise PinGraphError(
                f"train is {self.train!r}: expected 'all', 'nothing', 'last' or 'lora'"
            )
        for name, mode in (("layers", "last"), ("rank", "lora")):
            value = getattr(self, name)
            if self.train == mode and (value is None or value < 1):
                raise PinGraphError(f"{name} is {value}: train {mode!r} needs 1 or more")
            if self.train != mode and value is not None:
                raise PinGraphError(f"{name} is {value}, but train is {self.train!r}, not {mode!r}")
        scale = self.learning_rate_scale
        if scale is not None and not 0 < scale < math.inf:
            raise PinGraphError(f"learning_rate_scale is {scale}: expected a number above 0")
        if not 0 < self.layer_decay <= 1:
            raise PinGraphError(f"layer_decay is {self.layer_decay}: expected above 0, up to 1")

    def apply(self, model: nn.Module, towers: Sequence[Tower]) -> None:
        """Mark what is trained, in place; what belongs to no tower never is.

        Args:
            model: holds the towers.
            towers: those of the model.

        Raises:
            PinGraphError: a tower has fewer than `layers` layers, or none to put LoRA into; peft
                is not installed; the layers know no checkpointing.
        """
        model.requires_grad_(False)
        for tower in towers:
            for part in self._trained(tower):
                part.requires_grad_(True)
            if self.train == "lora":
                _add_lora(tower.layers, self.rank or 1)
            if self.checkpointing:
                _checkpoint(tower.layers)

    def learning_rate_scales(self, model: nn.Module, towers: Sequence[Tower]) -> dict[str, float]:
        """Return what the learning rate of each trained parameter is multiplied with, by name.

        Args:
            model: as given to `apply`, after it; names are relative to it.
            towers: likewise.
        """
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        whole = self.learning_rate_scale or (1.0 if self.train == "lora" else _PRETRAINED)
        scales = {}
        for tower in towers:
            for depth, part in _by_depth(tower):
                decay = self.layer_decay ** (len(tower.layers) + 1 - depth)
                scale = whole * decay
                for parameter in _parameters(part):
                    if parameter.requires_grad and scale != 1:
                        scales[names[id(parameter)]] = scale
        return scales

    def _trained(self, tower: Tower) -> tuple[Part, ...]:
        if self.train == "all":
            return (*tower.before, tower.layers, *tower.after)
        if self.train != "last":
            return ()
        count = self.layers or 1
        if count > len(tower.layers):
            raise PinGraphError(f"layers is {count}, but a tower has only {len(tower.layers)}")
        return (*tower.layers[-count:], *tower.after)


class TunedBackbone(Backbone):
    """A backbone of pretrained towers; a constructor ends with `self.tune(…)`."""

    def tune(self, tuning: Tuning, towers: Sequence[Tower]) -> None:
        """Make of the towers what is trained, and go into training mode.

        Raises:
            PinGraphError: as of `Tuning.apply`.
        """
        tuning.apply(self, towers)
        self._tuning, self._towers = tuning, tuple(towers)
        # `from_pretrained` leaves its model in evaluation mode, and a trainer leaves it there.
        self.train()

    def train(self, mode: bool = True) -> TunedBackbone:
        """Set the mode, but keep each module without a trained parameter in evaluation mode.

        So the tokens of a frozen part have no dropout, and are the same in each epoch.
        """
        super().train(mode)
        if mode:
            for module in self.modules():
                # Not eval(), which would call this method of ours again.
                if next(module.parameters(), None) is not None and not _is_trained(module):
                    for inner in module.modules():
                        inner.training = False
        return self

    def learning_rate_scales(self) -> dict[str, float]:
        """Return the scales of `Tuning.learning_rate_scales`."""
        return self._tuning.learning_rate_scales(self, self._towers)


def _by_depth(tower: Tower) -> Iterator[tuple[int, Part]]:
    yield from ((0, part) for part in tower.before)
    yield from enumerate(tower.layers, start=1)
    yield from ((len(tower.layers) + 1, part) for part in tower.after)


def _parameters(part: Part) -> Iterable[nn.Parameter]:
    return part.parameters() if isinstance(part, nn.Module) else (part,)


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _add_lora(layers: nn.ModuleList, rank: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise PinGraphError("train 'lora' needs peft: pip install peft") from error
    # Exactly nn.Linear: torch's own attention multiplies with its weights past any adapter.
    names = [
        name
        for name, module in layers.named_modules()
        if type(module) is nn.Linear and any("att" in one for one in name.split("."))
    ]
    if not names:
        raise PinGraphError(f"no attention to put LoRA into in a tower of {_kinds(layers)}")
    config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=names)
    inject_adapter_in_model(config, layers)


def _checkpoint(layers: Iterable[Any]) -> None:
    # Not by the model's own method, which makes the input of frozen layers require gradients.
    for layer in layers:
        if not hasattr(layer, "gradient_checkpointing"):
            raise PinGraphError(f"checkpointing: {type(layer).__name__} does not know it")
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)


def _kinds(layers: nn.ModuleList) -> str:
    return ", ".join(sorted({type(layer).__name__ for layer in layers}))
