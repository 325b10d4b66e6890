"""The transforms of the plain loop are those of torchvision."""

import numpy as np
import pytest
import torch
from PIL import Image
from speed import plain

from residua.data.shapes import generate

PIXELS = generate(3, stream=0).images[2]
IMAGE = Image.fromarray(PIXELS.permute(1, 2, 0).contiguous().numpy())


def to_pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_crop_is_a_window_of_the_padded_image() -> None:
    padded = torch.nn.functional.pad(PIXELS, (4, 4, 4, 4))
    windows = {
        (top, left): padded[:, top : top + 32, left : left + 32]
        for top in range(9)
        for left in range(9)
    }
    torch.manual_seed(0)
    found = set()
    for _ in range(600):
        crop = to_pixels(plain.random_crop(IMAGE))
        found |= {offset for offset, window in windows.items() if torch.equal(crop, window)}
    assert len(found) == 81


def test_half_of_the_images_are_flipped_horizontally() -> None:
    torch.manual_seed(0)
    flips = [to_pixels(plain.random_flip(IMAGE)) for _ in range(400)]
    flipped = sum(torch.equal(flip, PIXELS.flip(2)) for flip in flips)
    unchanged = sum(torch.equal(flip, PIXELS) for flip in flips)
    assert flipped + unchanged == 400
    assert flipped == pytest.approx(200, abs=40)


def test_rotation_is_nearest_neighbour_by_at_most_fifteen_degrees() -> None:
    torch.manual_seed(1)
    angle = float(torch.empty(1).uniform_(-15, 15))
    torch.manual_seed(1)
    rotated = to_pixels(plain.random_rotation(IMAGE))
    assert torch.equal(rotated, to_pixels(IMAGE.rotate(angle)))
    colors = {tuple(pixel) for pixel in PIXELS.flatten(1).T.tolist()} | {(0, 0, 0)}
    assert {tuple(pixel) for pixel in rotated.flatten(1).T.tolist()} <= colors
    assert not torch.equal(rotated, PIXELS)


def test_normalization() -> None:
    mean, std = (torch.tensor(each)[:, None, None] for each in (plain.MEAN, plain.STD))
    expected = (PIXELS / 255 - mean) / std
    torch.testing.assert_close(plain.normalize(plain.to_tensor(IMAGE)), expected)


def test_images_are_those_of_the_split() -> None:
    split = generate(3, stream=0)
    images = plain.Images(split)
    assert len(images) == 3
    image, label = images[2]
    assert label == split.labels[2]
    assert image.shape == (3, 32, 32)
    assert torch.equal(torch.from_numpy(images.pixels[2]).permute(2, 0, 1), split.images[2])
