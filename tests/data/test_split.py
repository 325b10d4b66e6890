import hashlib
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from residua.data import Shapes100, Split, Splits, channel_stats, stratified_split
from residua.data.dataset import Dataset
from residua.errors import UserError

LABELS = st.lists(st.integers(0, 6), min_size=2, max_size=80)
SEEDS = st.integers(0, 2**32)


def make_split(labels: list[int]) -> Split:
    """A split in which all pixels of image i have the value i (mod 256)."""
    images = torch.arange(len(labels)).to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    return Split(images, torch.tensor(labels), tuple("abcdefg"))


def indices(split: Split) -> list[int]:
    return split.images[:, 0, 0, 0].tolist()


@given(labels=LABELS, seed=SEEDS, data=st.data())
def test_stratified_split(labels: list[int], seed: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(labels) - 1))
    train, holdout = stratified_split(make_split(labels), size, seed)
    assert len(holdout) == size
    assert sorted(indices(train) + indices(holdout)) == list(range(len(labels)))
    for part in (train, holdout):
        assert indices(part) == sorted(indices(part))
        assert [labels[index] for index in indices(part)] == part.labels.tolist()
    for label in set(labels):
        expected = labels.count(label) * size / len(labels)
        assert abs(holdout.labels.tolist().count(label) - expected) < 1


@given(labels=LABELS, n=st.integers(1, 100))
def test_subsample_has_at_most_n_images_and_is_deterministic(labels: list[int], n: int) -> None:
    split = make_split(labels)
    subsample = split.subsample(n)
    assert len(subsample) == min(n, len(labels))
    assert indices(subsample) == indices(split.subsample(n))
    assert (subsample is split) == (n >= len(labels))


def test_holdout_depends_on_the_seed_and_has_golden_value() -> None:
    split = make_split([i % 5 for i in range(200)])
    holdouts = {seed: tuple(indices(stratified_split(split, 50, seed)[1])) for seed in range(20)}
    assert len(set(holdouts.values())) == 20
    assert holdouts[7] == tuple(indices(stratified_split(split, 50, 7)[1]))
    # The holdout of a recipe must not change with the version of a library.
    assert holdouts[0][:8] == GOLDEN


GOLDEN = (6, 8, 10, 15, 16, 27, 30, 41)


@pytest.mark.parametrize("size", [0, 4, 5])
def test_split_with_an_empty_part_is_rejected(size: int) -> None:
    with pytest.raises(UserError, match="leaves nothing to"):
        stratified_split(make_split([0, 1, 0, 1]), size, 0)


def test_subset_includes_coarse_labels() -> None:
    split = Shapes100(train=100, test=1).read().train
    assert split.coarse_labels is not None
    part = split.subset([7, 3])
    assert part.labels.tolist() == [7, 3]
    assert part.coarse_labels is not None
    assert part.coarse_labels.tolist() == [1, 0]
    assert part.superclasses == split.superclasses


def test_checksum_covers_images_and_labels() -> None:
    split = make_split([0, 1, 2])
    expected = hashlib.sha256(bytes(split.images.flatten().tolist()))
    expected.update(b"".join(label.to_bytes(8, "little") for label in (0, 1, 2)))
    assert split.checksum == expected.hexdigest()
    assert make_split([0, 1, 3]).checksum != split.checksum


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int32)),
    ],
)
def test_split_with_wrong_types_or_lengths_is_rejected(
    images: torch.Tensor, labels: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match=r"images (are|, labels)|2 images"):
        Split(images, labels, ("a",))


def test_channel_stats_match_torch() -> None:
    split = Shapes100(train=300, test=1).read().train
    exact = channel_stats(split)
    values = split.images.double() / 255
    assert torch.allclose(torch.tensor(exact.mean).double(), values.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(
        torch.tensor(exact.std).double(), values.std((0, 2, 3), correction=0), atol=1e-6
    )


def test_channel_stats_are_exact() -> None:
    split = make_split([0, 0])
    assert channel_stats(split).mean == (0.5 / 255,) * 3
    assert channel_stats(split).std == (0.5 / 255,) * 3
    assert channel_stats(split.subset([1])).std == (0.0,) * 3
    with pytest.raises(ValueError, match="without images"):
        channel_stats(split.subset([]))


class SmallDataset(Dataset):
    own_holdout: bool = False

    @property
    def num_classes(self) -> int:
        return 4

    def read(self) -> Splits:
        split = make_split([i % 4 for i in range(40)])
        return Splits(split, split if self.own_holdout else None, split)


def test_load_applies_the_limit_after_the_holdout() -> None:
    splits = SmallDataset(holdout=12, limit=8).load(seed=3)
    unlimited = SmallDataset(holdout=12).load(seed=3)
    assert splits.holdout is not None
    assert unlimited.holdout is not None
    assert (len(splits.train), len(splits.holdout), len(splits.test)) == (8, 8, 8)
    assert (len(unlimited.train), len(unlimited.holdout), len(unlimited.test)) == (28, 12, 40)
    assert set(indices(splits.train)) <= set(indices(unlimited.train))
    assert SmallDataset().load(seed=3).holdout is None


def test_load_rejects_a_second_or_too_large_holdout() -> None:
    with pytest.raises(UserError, match="40 of 40 images leaves nothing to train on"):
        SmallDataset(holdout=40).load(seed=0)
    with pytest.raises(UserError, match="holdout of its own"):
        SmallDataset(holdout=4, own_holdout=True).load(seed=0)
    assert SmallDataset(own_holdout=True).load(seed=0).holdout is not None


@pytest.mark.cifar100
def test_cifar100_channel_stats_are_the_published_values(cifar100: Splits) -> None:
    stats = channel_stats(cifar100.train)
    mean = (0.50707516, 0.48654887, 0.44091784)
    std = (0.26733429, 0.25643846, 0.27615047)
    assert all(math.isclose(a, b, abs_tol=5e-9) for a, b in zip(stats.mean, mean, strict=True))
    assert all(math.isclose(a, b, abs_tol=5e-9) for a, b in zip(stats.std, std, strict=True))


@pytest.mark.cifar100
def test_cifar100_holdout_is_balanced(cifar100: Splits) -> None:
    train, holdout = stratified_split(cifar100.train, 5000, seed=1)
    assert holdout.labels.bincount().tolist() == [50] * 100
    assert train.labels.bincount().tolist() == [450] * 100
