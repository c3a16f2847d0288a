"""Pretrained models in small: made from their configs, saved with processor and tokenizer.

They have random weights, but the very classes and files of the large ones, so that what loads
these loads those. `save(kind, folder)` writes one; S = 32 pixels in patches of 8.
"""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = (
    "a red chair",
    "Two green chairs, and a table!",
    "kitchen",
    "old oak table with four chairs in a bright kitchen by the sea",
    "the red house by the sea",
)
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
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    start, end = "<|startoftext|>", "<|endoftext|>"
    trained = _byte_pairs("</w>")
    vocabulary = {token: i for i, token in enumerate([*trained.get_vocab(), start, end])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=_merges(trained), model_max_length=16)
    text = {"vocab_size": len(vocabulary), "bos_token_id": vocabulary[start]} | (text or {})
    text = TEXT | {"eos_token_id": vocabulary[end], "pad_token_id": vocabulary[end]} | text
    vision = VISION | (vision or {})
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=20, **changes)
    square = {"height": 32, "width": 32}
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
    _save(folder, CLIPModel(config), processor, tokenizer)


def save_siglip(folder, tokenizer=None, text=None, vision=None, **changes):
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    tokenizer = tokenizer or _eos_tokenizer()
    text = TEXT | _ids(tokenizer) | (text or {})
    config = SiglipConfig(text_config=text, vision_config=VISION | (vision or {}), **changes)
    processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    _save(folder, SiglipModel(config), processor, tokenizer)


def save_siglip2(folder):
    """SigLIP 2 of a fixed size: the model of SigLIP, but the tokenizer of Gemma."""
    save_siglip(folder, tokenizer=_gemma_tokenizer(model_input_names=["input_ids"]))


def save_naflex(folder, **settings):
    """SigLIP 2 of any aspect ratio; 20 patches at most, so a square of 4 times 4 is the largest.

    `settings` are of its tokenizer, which hides the padding from the model by default.
    """
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model

    tokenizer = _gemma_tokenizer(**settings)
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

    tokenizer = _bert_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), **TEXT | changes)
    _save(folder, BertModel(config), None, tokenizer)


def save_modernbert(folder, **changes):
    from transformers import ModernBertConfig, ModernBertModel

    tokenizer = _bert_tokenizer()
    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2}
    config = ModernBertConfig(vocab_size=len(tokenizer), eos_token_id=3, **ids, **TEXT | changes)
    _save(folder, ModernBertModel(config), None, tokenizer)


KINDS = {
    "clip": save_clip,
    "siglip": save_siglip,
    "siglip2": save_siglip2,
    "naflex": save_naflex,
    "vit": save_vit,
    "dinov2": save_dinov2,
    "dinov2_with_registers": save_dinov2_with_registers,
    "dinov3": save_dinov3,
    "bert": save_bert,
    "modernbert": save_modernbert,
}


def _save(folder, model, processor=None, tokenizer=None):
    model.save_pretrained(folder)
    for part in (processor, tokenizer):
        if part is not None:
            part.save_pretrained(folder)


def _byte_pairs(suffix):
    """Byte pairs of the texts, every byte known."""
    trained = Tokenizer(models.BPE(end_of_word_suffix=suffix))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, end_of_word_suffix=suffix, show_progress=False
    )
    trained.train_from_iterator([text.lower() for text in TEXTS], trainer)
    return trained


def _merges(trained):
    import json

    return [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]


def _eos_tokenizer():
    """As SigLIP's: an end but no start, padded to the full length, and no mask of the padding."""
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>"]
    trained = Tokenizer(models.WordPiece({}, unk_token="<unk>"))
    trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    trained.train_from_iterator(TEXTS, trainer)
    trained.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        model_max_length=16,
        model_input_names=["input_ids"],
    )


def _gemma_tokenizer(**settings):
    from transformers import Siglip2Tokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=80, special_tokens=special, show_progress=False)
    trained.train_from_iterator([text.lower() for text in TEXTS], trainer)
    settings = {"model_max_length": 16, "padding_side": "right"} | settings
    tokenizer = Siglip2Tokenizer(vocab=trained.get_vocab(), merges=_merges(trained), **settings)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    return tokenizer


def _ids(tokenizer):
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    return {"vocab_size": len(tokenizer)} | {name: getattr(tokenizer, name) for name in names}


def _bert_tokenizer():
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained = Tokenizer(models.WordPiece({}, unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=True)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    trained.train_from_iterator(TEXTS, trainer)
    return BertTokenizer(vocab=trained.get_vocab(), model_max_length=16)


def gradients(backbone, images, texts):
    """The gradient that each trained parameter gets of a loss on all that a backbone made."""
    parts = (*images.levels, images.pooled, *texts.levels, texts.pooled)
    sum(part.square().sum() for part in parts).backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    return [p.grad for p in trained]
