"""Pretrained models in small: made from their configs, saved with processor and tokenizer.

They have random weights, but the very classes and files of the large ones, so that what loads
these loads those. `save(kind, folder)` writes one; S = 32 pixels in patches of 8.
"""

import torch

from tests.tiny_tokenizers import (
    TEXTS,
    bert_tokenizer,
    clip_tokenizer,
    eos_tokenizer,
    gemma_tokenizer,
    mpnet_tokenizer,
    roberta_tokenizer,
    xlm_roberta_tokenizer,
)

__all__ = ["KINDS", "TEXTS", "gradients", "save"]

VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
}


def save(kind, folder, **changes):
    """Write the model of a kind (see `KINDS`) to a folder, and return it as a string.

    `changes` are of the model's whole config: its own fields, or `text` and `vision` as dicts.
    """
    torch.manual_seed(0)
    KINDS[kind](folder, **changes)
    return str(folder)


def save_clip(folder, text=None, vision=None, **changes):
    from transformers import CLIPConfig, CLIPModel

    tokenizer = clip_tokenizer()
    text = TEXT | _ids(tokenizer) | (text or {})
    vision = VISION | (vision or {})
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=20, **changes)
    _save(folder, CLIPModel(config), _clip_processor(), tokenizer)


def save_metaclip_2(folder):
    from transformers import MetaClip2Config, MetaClip2Model

    tokenizer = xlm_roberta_tokenizer()
    text = TEXT | _ids(tokenizer)
    config = MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=20)
    _save(folder, MetaClip2Model(config), _clip_processor(), tokenizer)


def save_altclip(folder):
    """Of 16 tokens at most: 2 positions are before them."""
    from transformers import AltCLIPConfig, AltCLIPModel

    tokenizer = xlm_roberta_tokenizer()
    text = TEXT | _ids(tokenizer) | {"max_position_embeddings": 18, "project_dim": 28}
    text["initializer_range"] = 0.2  # at the default all texts are nearly the same
    config = AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=20)
    _save(folder, AltCLIPModel(config), _clip_processor(), tokenizer)


def save_chinese_clip(folder):
    from transformers import (
        ChineseCLIPConfig,
        ChineseCLIPImageProcessorPil,
        ChineseCLIPModel,
    )

    tokenizer = bert_tokenizer()
    text = TEXT | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    config = ChineseCLIPConfig(text_config=text, vision_config=VISION, projection_dim=20)
    square = {"height": 32, "width": 32}
    processor = ChineseCLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
    _save(folder, ChineseCLIPModel(config), processor, tokenizer)


def save_aimv2(folder, vision=None):
    from transformers import Aimv2Config, Aimv2Model

    tokenizer = clip_tokenizer()
    text = TEXT | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    vision = VISION | (vision or {})
    config = Aimv2Config(text_config=text, vision_config=vision, projection_dim=20)
    _save(folder, Aimv2Model(config), _clip_processor(), tokenizer)


def save_siglip(folder, tokenizer=None, text=None, vision=None, **changes):
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    tokenizer = tokenizer or eos_tokenizer()
    text = TEXT | _ids(tokenizer) | (text or {})
    config = SiglipConfig(text_config=text, vision_config=VISION | (vision or {}), **changes)
    processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    _save(folder, SiglipModel(config), processor, tokenizer)


def save_siglip2(folder):
    """SigLIP 2 of a fixed size: the model of SigLIP, but the tokenizer of Gemma."""
    save_siglip(folder, tokenizer=gemma_tokenizer(model_input_names=["input_ids"]))


def save_naflex(folder, **settings):
    """SigLIP 2 of any aspect ratio; 20 patches at most, so a square of 4 times 4 is the largest.

    `settings` are of its tokenizer, which hides the padding from the model by default.
    """
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model

    tokenizer = gemma_tokenizer(**settings)
    vision = {k: v for k, v in VISION.items() if k != "image_size"} | {"num_patches": 9}
    text = TEXT | _ids(tokenizer) | {"projection_size": 32}
    config = Siglip2Config(text_config=text, vision_config=vision)
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20)
    _save(folder, Siglip2Model(config), processor, tokenizer)


def save_vit(folder, **changes):
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    _save(folder, ViTModel(ViTConfig(**VISION | changes)), processor)


def save_dinov2(folder, **changes):
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    # Of 48 pixels, cut to 32, as the real ones are of 518 and cut to 224.
    config = Dinov2Config(**VISION | {"image_size": 48, "mlp_ratio": 2} | changes)
    square = {"height": 32, "width": 32}
    processor = BitImageProcessorPil(size={"shortest_edge": 36}, crop_size=square)
    _save(folder, Dinov2Model(config), processor)


def save_dinov2_with_registers(folder, **changes):
    from transformers import (
        BitImageProcessorPil,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    config = Dinov2WithRegistersConfig(**VISION | {"num_register_tokens": 2} | changes)
    square = {"height": 32, "width": 32}
    processor = BitImageProcessorPil(size={"shortest_edge": 36}, crop_size=square)
    _save(folder, Dinov2WithRegistersModel(config), processor)


def save_dinov3(folder, **changes):
    """DINOv3, whose own image processor needs torchvision: its file is written by hand."""
    import json

    from transformers import DINOv3ViTConfig, DINOv3ViTModel, ViTImageProcessorPil

    config = DINOv3ViTConfig(**VISION | {"num_register_tokens": 3} | changes)
    processor = ViTImageProcessorPil(
        size={"height": 32, "width": 32},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    _save(folder, DINOv3ViTModel(config), processor)
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text()) | {"image_processor_type": "DINOv3ViTImageProcessor"}
    file.write_text(json.dumps(settings))


def save_bert(folder, **changes):
    from transformers import BertConfig, BertModel

    tokenizer = bert_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), **TEXT | changes)
    _save(folder, BertModel(config), None, tokenizer)


def save_modernbert(folder, **changes):
    from transformers import ModernBertConfig, ModernBertModel

    tokenizer = bert_tokenizer()
    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2}
    config = ModernBertConfig(vocab_size=len(tokenizer), eos_token_id=3, **ids, **TEXT | changes)
    _save(folder, ModernBertModel(config), None, tokenizer)


def save_roberta(folder, **changes):
    """Of 16 tokens at most, as the next two: 2 positions are before them."""
    from transformers import RobertaConfig, RobertaModel

    _save_after_padding(folder, RobertaConfig, RobertaModel, roberta_tokenizer(), changes)


def save_xlm_roberta(folder, **changes):
    from transformers import XLMRobertaConfig, XLMRobertaModel

    _save_after_padding(folder, XLMRobertaConfig, XLMRobertaModel, xlm_roberta_tokenizer(), changes)


def save_mpnet(folder, **changes):
    from transformers import MPNetConfig, MPNetModel

    _save_after_padding(folder, MPNetConfig, MPNetModel, mpnet_tokenizer(), changes)


def save_distilbert(folder, **changes):
    from transformers import DistilBertConfig, DistilBertModel

    tokenizer = bert_tokenizer()
    own = {"dim": 24, "hidden_dim": 40, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 16}
    config = DistilBertConfig(vocab_size=len(tokenizer), **own | changes)
    _save(folder, DistilBertModel(config), None, tokenizer)


KINDS = {
    "clip": save_clip,
    "metaclip_2": save_metaclip_2,
    "altclip": save_altclip,
    "chinese_clip": save_chinese_clip,
    "aimv2": save_aimv2,
    "siglip": save_siglip,
    "siglip2": save_siglip2,
    "naflex": save_naflex,
    "vit": save_vit,
    "dinov2": save_dinov2,
    "dinov2_with_registers": save_dinov2_with_registers,
    "dinov3": save_dinov3,
    "bert": save_bert,
    "modernbert": save_modernbert,
    "roberta": save_roberta,
    "xlm-roberta": save_xlm_roberta,
    "mpnet": save_mpnet,
    "distilbert": save_distilbert,
}


def _save(folder, model, processor=None, tokenizer=None):
    model.save_pretrained(folder)
    for part in (processor, tokenizer):
        if part is not None:
            part.save_pretrained(folder)


def _clip_processor():
    from transformers import CLIPImageProcessorPil

    square = {"height": 32, "width": 32}
    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)


def _save_after_padding(folder, config, model, tokenizer, changes):
    settings = TEXT | _ids(tokenizer) | {"max_position_embeddings": 18} | changes
    _save(folder, model(config(**settings)), None, tokenizer)


def _ids(tokenizer):
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    return {"vocab_size": len(tokenizer)} | {name: getattr(tokenizer, name) for name in names}


def gradients(backbone, images, texts):
    """The gradient that each trained parameter gets of a loss on all that a backbone made."""
    parts = (*images.levels, images.pooled, *texts.levels, texts.pooled)
    sum(part.square().sum() for part in parts).backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    return [p.grad for p in trained]
