import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from residua.data import BatchSampler
from residua.data.sampler import _permutation
from residua.errors import UserError


@st.composite
def plans(draw: st.DrawFn) -> dict[str, int]:
    length = draw(st.integers(1, 200))
    batch_size = draw(st.integers(1, length))
    return {
        "length": length,
        "batch_size": batch_size,
        "seed": draw(st.integers(0, 2**63)),
        "size": draw(st.integers(1, min(5, batch_size))),
    }


def ranks(plan: dict[str, int], last: str) -> list[BatchSampler]:
    return [BatchSampler(**plan, rank=rank, last=last) for rank in range(plan["size"])]


@given(plan=plans(), epoch=st.integers(0, 1000))
def test_ranks_cover_each_image_once_an_epoch(plan: dict[str, int], epoch: int) -> None:
    seen: list[int] = []
    for batches in ranks(plan, "keep"):
        start = epoch * batches.steps_per_epoch
        for step in range(start, start + batches.steps_per_epoch):
            seen += batches[step].tolist()
    assert sorted(seen) == list(range(plan["length"]))


@given(plan=plans(), epoch=st.integers(0, 1000))
def test_drop_leaves_full_batches_of_distinct_images(plan: dict[str, int], epoch: int) -> None:
    every = ranks(plan, "drop")
    steps = every[0].steps_per_epoch
    assert steps == plan["length"] // plan["batch_size"]
    seen: list[int] = []
    for step in range(epoch * steps, (epoch + 1) * steps):
        batch = [image for batches in every for image in batches[step].tolist()]
        assert len(batch) == plan["batch_size"]
        seen += batch
    assert len(set(seen)) == len(seen) == steps * plan["batch_size"]


@given(plan=plans(), steps=st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
def test_a_batch_depends_on_nothing_that_came_before(
    plan: dict[str, int], steps: list[int]
) -> None:
    batches = BatchSampler(**plan)
    walked = {}
    for step in steps:
        walked[step] = batches[step].clone()
        batches[step].fill_(-1)  # What a caller does to its batch is its own affair.
    for step in steps:
        _permutation.cache_clear()
        fresh = BatchSampler(**plan)[step]
        assert fresh.dtype == torch.int64
        assert torch.equal(fresh, walked[step])


@given(plan=plans(), step=st.integers(0, 10_000))
def test_ranks_take_turns_in_the_batch_of_a_lone_process(plan: dict[str, int], step: int) -> None:
    lone = BatchSampler(**{**plan, "size": 1})[step]
    for batches in ranks(plan, "keep"):
        assert torch.equal(batches[step], lone[batches.rank :: batches.size])


def test_epochs_and_seeds_differ() -> None:
    orders = {
        tuple(BatchSampler(50, 50, seed)[epoch].tolist()) for seed in range(5) for epoch in range(5)
    }
    assert len(orders) == 25


def test_places_are_uniform() -> None:
    """Each image is about equally often first: chi-squared of 10 images over 2,000 epochs."""
    batches = BatchSampler(10, 10, seed=0)
    first = torch.tensor([int(batches[epoch][0]) for epoch in range(2000)]).bincount(minlength=10)
    assert float(((first - 200) ** 2 / 200).sum()) < 27.9  # 0.1 % of chance, 9 degrees


def test_order_is_pinned() -> None:
    """Runs resumed after an upgrade go on with the same batches."""
    assert BatchSampler(1000, 8, seed=7)[130].tolist() == PINNED


PINNED = [876, 125, 700, 879, 811, 720, 640, 439]


def test_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(UserError, match="batch of 512 is larger than the training set of 100 im"):
        BatchSampler(100, 512, seed=0)


def test_batch_smaller_than_the_world_is_refused() -> None:
    with pytest.raises(UserError, match="too small for 4 processes"):
        BatchSampler(100, 3, seed=0, size=4)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_empty_batch_is_refused(batch_size: int) -> None:
    with pytest.raises(UserError, match="too small"):
        BatchSampler(100, batch_size, seed=0)


@pytest.mark.parametrize("rank", [-1, 2])
def test_rank_outside_the_world_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match="of 2"):
        BatchSampler(100, 10, seed=0, rank=rank, size=2)


def test_there_is_no_step_before_the_first() -> None:
    with pytest.raises(IndexError):
        BatchSampler(100, 10, seed=0)[-1]
