"""Records of tensors that are moved whole."""

import torch

from pingraph.devices import changed, moved
from pingraph.interfaces import PinContent, Tokens


def content():
    tokens = Tokens(
        levels=(torch.ones(2, 3, 4), torch.zeros(2, 3, 4)),
        mask=torch.ones(2, 3, dtype=torch.bool),
        pooled=torch.ones(2, 4),
    )
    return PinContent(
        images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        has_image=torch.ones(2, dtype=torch.bool),
        tokens=torch.ones(2, 5, dtype=torch.int64),
        token_mask=torch.ones(2, 5, dtype=torch.bool),
        image_tokens=tokens,
    )


def test_every_tensor_of_a_record_is_moved():
    there = moved((content(), "name", 3), torch.device("meta"))
    seen = []
    changed(there, lambda tensor: seen.append(tensor.device.type) or tensor)
    assert seen == ["meta"] * 8
    assert there[1:] == ("name", 3)
    assert there[0].text_tokens is None


def test_what_is_moved_is_the_same():
    before, after = content(), moved(content(), torch.device("cpu"))
    assert type(after) is PinContent
    assert torch.equal(after.image_tokens.levels[1], before.image_tokens.levels[1])
    assert after.images.dtype == torch.uint8
