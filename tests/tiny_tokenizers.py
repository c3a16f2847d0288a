"""The tokenizers of `tiny_models`: trained on a few texts, of the classes of the large ones."""

import json

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = (
    "a red chair",
    "Two green chairs, and a table!",
    "kitchen",
    "old oak table with four chairs in a bright kitchen by the sea",
    "the red house by the sea",
)


def clip_tokenizer():
    from transformers import CLIPTokenizer

    trained = byte_pairs("</w>", lower=True)
    special = ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate([*trained.get_vocab(), *special])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges(trained), model_max_length=16)


def roberta_tokenizer():
    from transformers import RobertaTokenizer

    trained = byte_pairs("")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {token: i for i, token in enumerate([*special, *trained.get_vocab()])}
    return RobertaTokenizer(vocab=vocabulary, merges=merges(trained), model_max_length=16)


def xlm_roberta_tokenizer():
    from transformers import XLMRobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    trained.train_from_iterator(TEXTS, trainer)
    vocabulary = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["vocab"]]
    vocabulary.append(("<mask>", 0.0))
    return XLMRobertaTokenizer(vocab=vocabulary, model_max_length=16)


def mpnet_tokenizer():
    from transformers import MPNetTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]
    return MPNetTokenizer(vocab=word_pieces(special), model_max_length=16)


def byte_pairs(suffix, lower=False):
    """Byte pairs of the texts, every byte known."""
    trained = Tokenizer(models.BPE(end_of_word_suffix=suffix))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, end_of_word_suffix=suffix, show_progress=False
    )
    trained.train_from_iterator([text.lower() if lower else text for text in TEXTS], trainer)
    return trained


def merges(trained):
    return [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]


def eos_tokenizer():
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


def gemma_tokenizer(**settings):
    from transformers import Siglip2Tokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=80, special_tokens=special, show_progress=False)
    trained.train_from_iterator([text.lower() for text in TEXTS], trainer)
    settings = {"model_max_length": 16, "padding_side": "right"} | settings
    tokenizer = Siglip2Tokenizer(vocab=trained.get_vocab(), merges=merges(trained), **settings)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    return tokenizer


def bert_tokenizer():
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return BertTokenizer(vocab=word_pieces(special), model_max_length=16)


def word_pieces(special):
    """The vocabulary of BERT's kind, in lower case; `special` come first."""
    trained = Tokenizer(models.WordPiece({}, unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=True)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    trained.train_from_iterator(TEXTS, trainer)
    return trained.get_vocab()
