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


def test_a_small_generation_is_pinned() -> None:
    assert generate(200, stream=0).checksum == SMALL


def test_the_default_set_is_pinned(default: Splits) -> None:
    assert default.train.checksum == TRAIN
    assert default.test.checksum == TEST


def test_classes_are_five_textures_of_twenty_shapes(default: Splits) -> None:
    assert len(set(CLASSES)) == 100
    assert len(set(SUPERCLASSES)) == 20
    assert "striped star" in CLASSES
    assert all(name.split()[1] == SUPERCLASSES[i // 5] for i, name in enumerate(CLASSES))
    assert default.train.coarse_labels is not None
    assert torch.equal(default.train.coarse_labels, default.train.labels // 5)
    assert default.train.labels.bincount().tolist() == [100] * 100
    assert default.test.labels.bincount().tolist() == [20] * 100


def test_a_larger_set_begins_with_the_smaller(default: Splits) -> None:
    part = generate(2300, stream=0)
    assert torch.equal(part.images, default.train.images[:2300])


def test_no_image_occurs_twice(default: Splits) -> None:
    images = torch.cat([default.train.images, default.test.images]).flatten(1)
    assert len({image.tobytes() for image in images.numpy()}) == 12_000


def test_images_use_the_range_and_are_no_mere_noise(default: Splits) -> None:
    images = default.test.images.float()
    assert images.min() == 0
    assert images.max() == 255
    step = (images[..., 1:] - images[..., :-1]).abs().mean()
    far = (images[..., 16:] - images[..., :-16]).abs().mean()
    assert step < 0.6 * far


def test_colour_alone_does_not_tell_the_class(default: Splits) -> None:
    """A nearest class mean over all pixels stays under 15 %."""
    train, test = (
        (part.images.float().flatten(1), part.labels)
        for part in (default.train.subsample(4000), default.test.subsample(1000))
    )
    means = torch.stack([train[0][train[1] == label].mean(0) for label in range(100)])
    correct = (torch.cdist(test[0], means).argmin(1) == test[1]).float().mean()
    assert correct < 0.15


def test_sizes_are_bounded() -> None:
    with pytest.raises(ValidationError):
        Shapes100(train=0)
