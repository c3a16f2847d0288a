"""Models of the Qwen-VL family in small: random weights, but the classes and files of real ones."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEXTS = ["red sky at night", "a chair", "", "a red chair and a small table by the sea, at night!"]
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 40}
TEXT = {"hidden_size": 24, "num_hidden_layers": 3, "max_position_embeddings": 64, **HEADS}
SECTIONS = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
VISION = {"depth": 3, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2}
VISION["temporal_patch_size"] = 2
SIZE = 32


# Each kind's name in `transformers`, and what its config has beyond the others'.
NAMES = {
    "qwen2_vl": "Qwen2VL",
    "qwen2_5_vl": "Qwen2_5_VL",
    "qwen3_vl": "Qwen3VL",
    "qwen3_vl_moe": "Qwen3VLMoe",
    "qwen3_5": "Qwen3_5",
    "qwen3_5_moe": "Qwen3_5Moe",
}
WIDTHS = {"hidden_size": 32, "intermediate_size": 40, "out_hidden_size": 24}
DEEP = {**WIDTHS, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]}
VISIONS = {
    "qwen2_vl": {"embed_dim": 32, "hidden_size": 24, "mlp_ratio": 2},
    # Windows of 2 x 2 merged patches, so that their order is not that of the rows.
    "qwen2_5_vl": {**WIDTHS, "window_size": 16, "fullatt_block_indexes": [1]},
    "qwen3_vl": DEEP,
    "qwen3_vl_moe": DEEP,
    "qwen3_5": {**WIDTHS, "num_position_embeddings": 36},
    "qwen3_5_moe": {**WIDTHS, "num_position_embeddings": 36},
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = {
    "head_dim": 24,
    # Positions turn a quarter of a head's channels.
    "rope_parameters": {**SECTIONS, "mrope_section": [1, 1, 1], "partial_rotary_factor": 0.25},
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
TEXTS_OF_KINDS = {
    "qwen3_vl": {"head_dim": 12},
    "qwen3_vl_moe": {"head_dim": 12, **EXPERTS},
    "qwen3_5": LINEAR,
    "qwen3_5_moe": {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 16},
}


def save(kind, folder, **changes):
    """Write a tiny model with its image processor and tokenizer, as on the hub; return it."""
    import transformers

    tokenizer = save_tokenizer(folder)
    text = {**TEXT, "vocab_size": len(tokenizer), "rope_parameters": SECTIONS}
    text |= TEXTS_OF_KINDS.get(kind, {})
    config = getattr(transformers, f"{NAMES[kind]}Config")(
        text_config=text, vision_config={**VISION, **VISIONS[kind]}, **changes
    )
    torch.manual_seed(0)
    getattr(transformers, f"{NAMES[kind]}ForConditionalGeneration")(config).save_pretrained(folder)
    square = {"shortest_edge": SIZE * SIZE, "longest_edge": SIZE * SIZE}
    processor(size=square, patch_size=4, merge_size=2).save_pretrained(folder)
    return folder


def processor(**settings):
    from transformers import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(**settings)


def save_tokenizer(folder):
    from transformers import PreTrainedTokenizerFast

    end, padding = "<|im_end|>", "<|endoftext|>"
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [padding, end]
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    trained.train_from_iterator(TEXTS, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=trained, eos_token=end, pad_token=padding)
    made.save_pretrained(folder)
    return made
