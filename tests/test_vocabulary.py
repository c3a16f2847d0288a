"""Vectors of tokens: learned ones, and a lexicon's for words that training may never have seen."""

import numpy as np
import pytest
import torch

from pingraph.content import TextReader
from pingraph.encoders import HybridEncoder, SmallBackbone
from pingraph.encoders.lexicon import Lexicon, read_lexicon
from pingraph.encoders.vocabulary import Vocabulary, WordVectors
from pingraph.tokenization import encode, train_tokenizer

TEXTS = ["red chair", "red table", "zebra"] * 2
KNOWN = ("blue", "red", "chair", "sofa")


@pytest.fixture
def lexicon():
    rng = np.random.default_rng(0)
    return Lexicon(words=KNOWN, vectors=rng.normal(size=(4, 6)).astype(np.float16))


@pytest.fixture
def tokenizer():
    return train_tokenizer(TEXTS, 60, KNOWN)


@pytest.fixture
def made(lexicon, tokenizer):
    torch.manual_seed(0)
    vocabulary = Vocabulary(60, lexicon)
    vocabulary.learn(tokenizer)
    vectors = WordVectors(vocabulary, 16)
    with torch.no_grad():
        vectors.weights.weight.add_(torch.randn_like(vectors.weights.weight))
    return vocabulary, vectors


def by_loops(vectors, lexicon, token, number):
    """What a token of this name and number is: its learned vector, and its word's, mapped."""
    total = torch.zeros(16)
    if not token.startswith("known:"):
        total += vectors.learned.weight[number]
    prefix, _, word = token.rpartition(":")
    if prefix and word in KNOWN:
        known = torch.from_numpy(lexicon.vectors[KNOWN.index(word)].astype(np.float32))
        total += vectors.map.weight @ known
    return total


@torch.no_grad()
def test_each_token_has_its_learned_and_its_pretrained_vector(made, lexicon, tokenizer):
    vocabulary, vectors = made
    names = sorted(tokenizer.get_vocab().items())
    assert {"word:red", "word:zebra", "known:blue", "known:sofa", "red"} <= dict(names).keys()
    assert not {"word:blue", "known:red", "known:chair"} & dict(names).keys()
    numbers = torch.tensor([[number for _, number in names]])
    found = vectors(vocabulary(numbers))[0]
    expected = [by_loops(vectors, lexicon, name, number) for name, number in names]
    torch.testing.assert_close(found, torch.stack(expected))


@torch.no_grad()
def test_in_training_a_token_goes_without_its_learned_vector_or_has_it_in_full(lexicon, tokenizer):
    torch.manual_seed(0)
    vocabulary = Vocabulary(60, lexicon, dropout=0.4)
    vocabulary.learn(tokenizer)
    vectors = WordVectors(vocabulary, 16)
    tokens = torch.arange(tokenizer.get_vocab_size())
    words = vocabulary(tokens.repeat(2, 1))
    learned = vectors.learned.weight[words.learned]
    known = vectors.map(words.known.float())
    kept = 0
    for _ in range(100):
        found = vectors(words)
        assert torch.equal(found[0], found[1])  # the same of a token wherever it stands
        (drawn,) = vectors.sum(words, torch.eye(2, len(tokens)))[:1]  # of the first token alone
        options = known[0] + torch.tensor([[0.0], [1 / 0.6]]) * learned[0]
        assert (drawn - options).abs().sum(1).min() < 1e-5
        has = ((found[0] - known).abs().sum(1) > 1e-4)[learned.any(1)]
        torch.testing.assert_close(
            found[0][learned.any(1)][has], (known + learned / 0.6)[learned.any(1)][has]
        )
        kept += has.float().mean().item() / 100
    assert abs(kept - 0.6) < 0.05
    vectors.eval()
    torch.testing.assert_close(vectors(words)[0], learned + known)


@torch.no_grad()
def test_a_sum_is_that_of_the_vectors(made, tokenizer):
    vocabulary, vectors = made
    tokens, mask = encode(tokenizer, ["red sofa blue", "zebra", "", "chairs ?"])
    words = vocabulary(torch.from_numpy(tokens))
    weights = vectors.weigh(words, torch.from_numpy(mask))
    assert (weights > 0).tolist() == mask.tolist()
    raw = vectors.weights.weight[torch.from_numpy(tokens), 0]
    expected = torch.log1p(raw.exp()) * torch.from_numpy(mask)
    torch.testing.assert_close(weights, expected)
    summed = (vectors(words) * weights.unsqueeze(2)).sum(1)
    torch.testing.assert_close(vectors.sum(words, weights), summed)


def test_a_word_that_training_has_not_seen_learns_nothing_of_its_own(made, tokenizer):
    vocabulary, vectors = made
    unseen = torch.tensor(
        [[tokenizer.token_to_id("known:sofa"), tokenizer.token_to_id("word:red")]]
    )
    words = vocabulary(unseen)
    weights = vectors.weigh(words, torch.ones(1, 2, dtype=torch.bool))
    (vectors(words).sum() + vectors.sum(words, weights).pow(2).sum()).backward()
    red = tokenizer.token_to_id("word:red")
    assert vectors.learned.weight.grad.any(1).nonzero().tolist() == [[red]]
    assert not vectors.learned.weight[-1].any()
    assert vectors.map.weight.grad.any()


def test_without_a_lexicon_all_is_learned():
    vocabulary = Vocabulary(60, read_lexicon("none"))
    tokenizer = train_tokenizer(TEXTS, 60)
    vocabulary.learn(tokenizer)
    vectors = WordVectors(vocabulary, 16)
    assert not vocabulary.state_dict()
    tokens = torch.tensor([[2, 5]])
    assert torch.equal(vectors(vocabulary(tokens)), vectors.learned.weight[tokens])


def test_what_a_tokenizer_says_stays_with_the_weights(lexicon, tokenizer):
    first, second = (Vocabulary(60, lexicon) for _ in range(2))
    first.learn(tokenizer)
    second.load_state_dict(first.state_dict())
    tokens = torch.arange(tokenizer.get_vocab_size())[None]
    for name in ("learned", "known"):
        assert torch.equal(getattr(first(tokens), name), getattr(second(tokens), name))


def test_learning_again_forgets_the_tokenizer_before(lexicon, tokenizer):
    once, twice = (Vocabulary(60, lexicon) for _ in range(2))
    twice.learn(train_tokenizer(["sofa blue"], 60, KNOWN))
    for one in (once, twice):
        one.learn(tokenizer)
    assert torch.equal(once.rows, twice.rows)
    assert once.seen == twice.seen


@torch.no_grad()
def test_an_unseen_word_of_the_lexicon_moves_the_embedding():
    backbone = SmallBackbone(image_size=8, vocab_size=100, max_tokens=8, dim=16, dropout=0)
    encoder = HybridEncoder(backbone, embed_dim=12, features=()).eval()
    tokenizer = encoder.preparation.tokenizer(["red chair", "green table"])
    encoder.learn_words(tokenizer)
    texts = ["sofa", "couch", "xqzt", "xqzz"]
    content = TextReader(texts, tokenizer, encoder.preparation).read(np.arange(4))
    made = encoder(content)
    assert not torch.allclose(made.fused[0], made.fused[1])
    assert not torch.allclose(made.shallow[0], made.shallow[1])
    assert torch.equal(made.shallow[2], made.shallow[3])
