"""Writing that is all or nothing."""

import os

import pytest

from pingraph.errors import PinGraphError
from pingraph.files import atomic_file, write_json


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file"
    write_json(path, [1])
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_text().split() == ["[", "1", "]"]
    assert list(path.parent.iterdir()) == [path]


def write_half(path):
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_what_is_no_regular_file_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(PinGraphError, match="not a regular file"):
            write_json(path, 1)
    assert (tmp_path / "pipe").is_fifo()
