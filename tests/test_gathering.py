"""Rows of several real processes put together: values and gradients as if one had made them."""

import multiprocessing
import traceback
from datetime import timedelta

import pytest
import torch
from torch import distributed

from pingraph.gathering import gather_rows


def rows(sizes):
    generator = torch.Generator().manual_seed(0)
    return list(torch.randn(sum(sizes), 3, generator=generator, dtype=torch.float64).split(sizes))


def loss_of(rank, joined):
    """Each rank wants something else of all rows."""
    return ((rank + 1) * joined.sin() * joined.roll(1, 0)).sum()


def work(rank, sizes, store, results):
    try:
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=len(sizes),
            timeout=timedelta(seconds=60),
        )
        own = rows(sizes)[rank].requires_grad_()
        joined = gather_rows(own, sizes)
        loss_of(rank, joined).backward()
        flags = gather_rows(own.detach()[:, 0] > 0, sizes)
        results.put((rank, joined.tolist(), own.grad.tolist(), flags.tolist()))
        distributed.destroy_process_group()
    except BaseException:
        results.put((rank, traceback.format_exc(), None, None))


@pytest.mark.parametrize("sizes", [[4, 4], [1, 6], [2, 5, 3]])
def test_values_and_gradients_are_those_of_one_process(sizes, tmp_path):
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    ranks = [
        fork.Process(target=work, args=(rank, sizes, tmp_path / "store", results))
        for rank in range(len(sizes))
    ]
    for process in ranks:
        process.start()
    found = {rank: rest for rank, *rest in (results.get(timeout=90) for _ in sizes)}
    for process in ranks:
        process.join()
    leaves = [own.requires_grad_() for own in rows(sizes)]
    expected = torch.cat(leaves)
    sum(loss_of(rank, expected) for rank in range(len(sizes))).backward()
    for rank in range(len(sizes)):
        joined, gradient, flags = found[rank]
        assert gradient is not None, joined
        torch.testing.assert_close(torch.tensor(joined, dtype=torch.float64), expected.detach())
        torch.testing.assert_close(torch.tensor(gradient, dtype=torch.float64), leaves[rank].grad)
        assert flags == (expected[:, 0] > 0).tolist()
