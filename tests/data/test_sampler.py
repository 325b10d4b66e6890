import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from residua.data import BatchSampler
from residua.data.sampler import _balanced_order, _permutation
from residua.errors import UserError


@st.composite
def sampler_args(draw: st.DrawFn) -> dict[str, int]:
    length = draw(st.integers(1, 200))
    batch_size = draw(st.integers(1, length))
    return {
        "length": length,
        "batch_size": batch_size,
        "seed": draw(st.integers(0, 2**63)),
    }


@given(args=sampler_args(), epoch=st.integers(0, 1000))
def test_batches_cover_each_image_once_per_epoch(args: dict[str, int], epoch: int) -> None:
    indices: list[int] = []
    sampler = BatchSampler(**args)
    start = epoch * sampler.steps_per_epoch
    for step in range(start, start + sampler.steps_per_epoch):
        indices += sampler[step].tolist()
    assert sorted(indices) == list(range(args["length"]))


@given(args=sampler_args(), epoch=st.integers(0, 1000))
def test_drop_last_gives_full_batches_of_distinct_images(args: dict[str, int], epoch: int) -> None:
    sampler = BatchSampler(**args, drop_last=True)
    steps = sampler.steps_per_epoch
    assert steps == args["length"] // args["batch_size"]
    indices: list[int] = []
    for step in range(epoch * steps, (epoch + 1) * steps):
        batch = sampler[step].tolist()
        assert len(batch) == args["batch_size"]
        indices += batch
    assert len(set(indices)) == len(indices) == steps * args["batch_size"]


@given(args=sampler_args(), steps=st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
def test_batch_does_not_depend_on_earlier_calls(args: dict[str, int], steps: list[int]) -> None:
    sampler = BatchSampler(**args)
    batches = {}
    for step in steps:
        batches[step] = sampler[step].clone()
        sampler[step].fill_(-1)  # A caller may modify its batch.
    for step in steps:
        _permutation.cache_clear()
        batch = BatchSampler(**args)[step]
        assert batch.dtype == torch.int64
        assert torch.equal(batch, batches[step])


def test_epochs_and_seeds_differ() -> None:
    orders = {
        tuple(BatchSampler(50, 50, seed)[epoch].tolist()) for seed in range(5) for epoch in range(5)
    }
    assert len(orders) == 25


def test_first_image_is_uniformly_distributed() -> None:
    """Chi-squared test of the first image of 2,000 epochs with 10 images."""
    sampler = BatchSampler(10, 10, seed=0)
    first = torch.tensor([int(sampler[epoch][0]) for epoch in range(2000)]).bincount(minlength=10)
    assert float(((first - 200) ** 2 / 200).sum()) < 27.9  # p = 0.001 with 9 degrees of freedom


def test_order_has_golden_value() -> None:
    """A run that is resumed after an upgrade continues with the same batches."""
    assert BatchSampler(1000, 8, seed=7)[130].tolist() == GOLDEN


GOLDEN = [876, 125, 700, 879, 811, 720, 640, 439]


def test_batch_larger_than_the_data_set_is_rejected() -> None:
    with pytest.raises(UserError, match="batch of 512 is larger than the training set of 100 im"):
        BatchSampler(100, 512, seed=0)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_empty_batch_is_rejected(batch_size: int) -> None:
    with pytest.raises(UserError, match="too small"):
        BatchSampler(100, batch_size, seed=0)


def test_negative_step_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        BatchSampler(100, 10, seed=0)[-1]


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor),
    epoch=st.integers(0, 50),
    seed=st.integers(0, 2**63),
)
def test_balanced_epoch_has_equally_many_images_of_each_class(
    labels: torch.Tensor, epoch: int, seed: int
) -> None:
    sampler = BatchSampler(len(labels), 1, seed, labels=labels)
    start = epoch * sampler.steps_per_epoch
    steps = range(start, start + sampler.steps_per_epoch)
    indices = torch.cat([sampler[step] for step in steps])
    assert len(indices) == len(labels)
    counts = torch.bincount(labels[indices], minlength=5)[labels.unique()]
    assert counts.max() - counts.min() <= 1


def test_balanced_epochs_use_all_images_about_equally_often() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    sampler = BatchSampler(100, 100, seed=3, labels=labels)
    used = np.bincount(torch.cat([sampler[epoch] for epoch in range(18)]).numpy(), minlength=100)
    assert used[:90].min() == used[:90].max() == 10
    assert used[90:].min() == used[90:].max() == 90
    first, second = sampler[0], sampler[1]
    assert not torch.equal(first, second)
    assert not torch.equal(first, BatchSampler(100, 100, seed=4, labels=labels)[0])


def test_balanced_batch_does_not_depend_on_earlier_calls() -> None:
    labels = torch.arange(50) % 7 // 3
    whole = BatchSampler(50, 8, seed=1, labels=labels)
    expected = [whole[step] for step in range(20)]
    _balanced_order.cache_clear()
    for step in reversed(range(20)):
        assert torch.equal(BatchSampler(50, 8, 1, labels=labels)[step], expected[step])
