"""Tokens of texts: the same from the same texts, as many as fit, and whole through a file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingraph.errors import PinGraphError
from pingraph.tokenization import (
    PADDING,
    PIECES,
    UNKNOWN,
    WORDS_PER_PIECE,
    encode,
    learned_tokens,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
    word_tokens,
)

WORDS = ["alarm", "clock", "clocks", "Alarms,", "red", "reddish", "blue-green", "café", "12", "120"]


def vocabulary(tokenizer):
    return tokenizer.get_vocab()


@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), max_size=12),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=25)
def test_the_same_texts_give_the_same_tokenizer_in_any_order(texts, random):
    first = train_tokenizer(texts, 64)
    shuffled = random.sample(texts, len(texts))
    assert vocabulary(train_tokenizer(shuffled, 64)) == vocabulary(first)


@given(st.lists(st.text(max_size=12), max_size=20), st.integers(2, 60))
@settings(deadline=None, max_examples=60)
def test_no_token_is_beyond_the_size_of_the_vocabulary(texts, size):
    tokenizer = train_tokenizer(texts, size)
    numbers = sorted(vocabulary(tokenizer).values())
    assert numbers == list(range(len(numbers)))
    assert len(numbers) <= size
    assert (tokenizer.token_to_id(PADDING), tokenizer.token_to_id(UNKNOWN)) == (0, 1)
    tokens, mask = encode(tokenizer, texts)
    assert tokens.max(initial=0) < size
    assert (tokens[~mask] == 0).all()
    assert (tokens[mask] > 0).all()


def test_a_script_of_more_characters_than_tokens_is_cut_to_the_most_frequent():
    texts = [chr(0x4E00 + number) for number in range(3000)] + ["一"] * 5
    tokenizer = train_tokenizer(texts, 512)
    assert tokenizer.get_vocab_size() <= 512
    assert encode(tokenizer, ["一"])[0].tolist() != [[1]]
    assert encode(tokenizer, ["語"])[0].tolist() == [[1]]


def encoded(tokenizer, text):
    return [tokenizer.id_to_token(token) for token in encode(tokenizer, [text])[0][0]]


def test_words_stand_before_the_parts_that_unknown_words_share_with_them():
    tokenizer = train_tokenizer(["alarm clock", "alarm bell", "wall clock", "once"] * 3, 200)
    assert encoded(tokenizer, "Alarm CLOCK") == ["word:alarm", "word:clock", "alarm", "clock"]
    assert encoded(tokenizer, "bella bell") == ["word:bell", "bell", "##a", "bell"]
    assert encoded(tokenizer, "#") == [UNKNOWN]
    assert encoded(tokenizer, "word:bell")[-1] == "bell"  # the mark cannot be written in a text


def test_a_small_vocabulary_keeps_the_most_frequent_words():
    texts = [f"w{number}" for number in range(40) for _ in range(40 - number)]
    known = vocabulary(train_tokenizer(texts, 60))
    words = [token for token in known if token.startswith("word:")]
    assert len(known) == 60
    assert sorted(words) == sorted(f"word:w{number}" for number in range(len(words)))


def test_encoding_cuts_and_pads():
    tokenizer = train_tokenizer(["a b c d"] * 2, 64)
    tokenizer.enable_truncation(3)
    tokens, mask = encode(tokenizer, ["a b c d", "", "a"])
    assert tokens.shape == (3, 3)
    np.testing.assert_array_equal(mask.sum(1), [3, 0, 2])
    assert encoded(tokenizer, "a b c d") == ["word:a", "word:b", "word:c"]
    tokens, mask = encode(tokenizer, ["", ""])
    assert (tokens.shape, mask.any()) == ((2, 1), False)


def test_the_words_behind_a_cut_of_the_parts_are_found():
    tokenizer = train_tokenizer(["abc", "xyz"], 64)  # once only, so their parts are characters
    whole = encoded(tokenizer, "abc xyz")
    assert whole == ["word:abc", "word:xyz", "a", "##b", "##c", "x", "##y", "##z"]
    for length in range(1, 8):
        tokenizer.enable_truncation(length)
        assert encoded(tokenizer, "abc xyz") == whole[:length]


def test_a_text_of_special_tokens_alone_is_none():
    from tokenizers import processors

    tokenizer = train_tokenizer(["a b"] * 2, 64)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[UNK] $A", special_tokens=[("[UNK]", 1)]
    )
    _, mask = encode(tokenizer, ["a b", "", "  ", "\n"])
    assert mask.sum(1).tolist() == [5, 0, 0, 0]


def test_a_tokenizer_is_the_same_after_a_file(tmp_path):
    tokenizer = train_tokenizer(WORDS * 2, 64)
    save_tokenizer(tokenizer, tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert vocabulary(loaded) == vocabulary(tokenizer)
    text = " ".join(WORDS)
    assert loaded.encode(text).ids == tokenizer.encode(text).ids


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff"])
def test_a_damaged_file_is_refused_by_name(damage, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(damage)
    with pytest.raises(PinGraphError, match=r"tokenizer\.json: not a tokenizer"):
        load_tokenizer(path)


def test_more_words_have_more_parts():
    few = [f"{a}{b}" for a in "abcdef" for b in "ghijkl"]
    many = [f"{a}{b}{c}" for a in few for b in few for c in ("", "m")]
    assert len(set(many)) // WORDS_PER_PIECE > PIECES
    found = vocabulary(train_tokenizer(many * 2, 16384))
    parts = [token for token in found if not token.startswith("word:")]
    assert len(parts) == len(set(many)) // WORDS_PER_PIECE


def test_a_tokenizer_of_no_texts_knows_no_words():
    for texts in ([], ["", " "]):
        assert vocabulary(train_tokenizer(texts, 100)).keys() == {PADDING, UNKNOWN}
        assert vocabulary(train_tokenizer(texts, 100, ["red"])).keys() == {PADDING, UNKNOWN}
    assert len(vocabulary(train_tokenizer(["a"], 100))) > 2


def test_words_that_are_known_beside_those_of_the_texts_come_last():
    tokenizer = train_tokenizer(["red chair"] * 2, 100, ["sofa", "red", "zq"])
    names = sorted(vocabulary(tokenizer), key=vocabulary(tokenizer).get)
    assert names[-2:] == ["known:sofa", "known:zq"]
    assert learned_tokens(tokenizer) == len(names) - 2
    assert word_tokens(tokenizer).keys() == {"red", "chair", "sofa", "zq"}
    assert encoded(tokenizer, "Red sofa, zq")[:3] == ["word:red", "known:sofa", "known:zq"]
    assert "known:sofa" not in vocabulary(train_tokenizer(["sofa"] * 2, 100, ["sofa"]))
