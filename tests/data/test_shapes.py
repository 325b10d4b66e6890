import pytest
import torch
from pydantic import ValidationError

from residua.data import Shapes100, Splits
from residua.data.shapes import CLASSES, SUPERCLASSES, generate

SMALL = "ef74e2d1cbcff28568653e3ef1bbf1d19651166f74b6cf0e4bcb3ca330ef7102"
TRAIN = "30685e716db285f138017aa89052da1485d1d70894687461bd6591bdede79c89"
TEST = "f31553b3e2f6c8ad1ca7dcf091c8040a3cf7502ad6b814cdc5f72352331e4e4d"


@pytest.fixture(scope="module")
def default() -> Splits:
    return Shapes100().load(seed=0)


def test_small_set_has_golden_checksum() -> None:
    assert generate(200, stream=0).checksum == SMALL


def test_default_set_has_golden_checksums(default: Splits) -> None:
    assert default.train.checksum == TRAIN
    assert default.test.checksum == TEST


def test_classes_are_combinations_of_textures_and_shapes(default: Splits) -> None:
    assert len(set(CLASSES)) == 100
    assert len(set(SUPERCLASSES)) == 20
    assert "striped star" in CLASSES
    assert all(name.split()[1] == SUPERCLASSES[i // 5] for i, name in enumerate(CLASSES))
    assert default.train.coarse_labels is not None
    assert torch.equal(default.train.coarse_labels, default.train.labels // 5)
    assert default.train.labels.bincount().tolist() == [100] * 100
    assert default.test.labels.bincount().tolist() == [20] * 100


def test_smaller_set_is_the_beginning_of_a_larger_one(default: Splits) -> None:
    part = generate(2300, stream=0)
    assert torch.equal(part.images, default.train.images[:2300])


def test_all_images_are_different(default: Splits) -> None:
    images = torch.cat([default.train.images, default.test.images]).flatten(1)
    assert len({image.tobytes() for image in images.numpy()}) == 12_000


def test_images_use_the_full_range_and_are_not_just_noise(default: Splits) -> None:
    images = default.test.images.float()
    assert images.min() == 0
    assert images.max() == 255
    near = (images[..., 1:] - images[..., :-1]).abs().mean()
    far = (images[..., 16:] - images[..., :-16]).abs().mean()
    assert near < 0.6 * far


def test_nearest_class_mean_has_low_accuracy(default: Splits) -> None:
    """The classes cannot be distinguished by colour."""
    train, test = (
        (split.images.float().flatten(1), split.labels)
        for split in (default.train.subsample(4000), default.test.subsample(1000))
    )
    means = torch.stack([train[0][train[1] == label].mean(0) for label in range(100)])
    correct = (torch.cdist(test[0], means).argmin(1) == test[1]).float().mean()
    assert correct < 0.15


def test_invalid_sizes_are_rejected() -> None:
    with pytest.raises(ValidationError):
        Shapes100(train=0)
