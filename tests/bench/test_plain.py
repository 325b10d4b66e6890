"""The plain loop's transforms do to an image what is said of them."""

import numpy as np
import pytest
import torch
from PIL import Image
from speed import plain

from residua.data.shapes import generate

PIXELS = generate(3, stream=0).images[2]
IMAGE = Image.fromarray(PIXELS.permute(1, 2, 0).contiguous().numpy())


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_a_crop_is_a_window_of_the_padded_image() -> None:
    padded = torch.nn.functional.pad(PIXELS, (4, 4, 4, 4))
    windows = {
        (top, left): padded[:, top : top + 32, left : left + 32]
        for top in range(9)
        for left in range(9)
    }
    torch.manual_seed(0)
    seen = set()
    for _ in range(600):
        crop = tensor(plain.cropped(IMAGE))
        seen |= {place for place, window in windows.items() if torch.equal(crop, window)}
    assert len(seen) == 81


def test_a_flip_is_left_to_right_half_of_the_time() -> None:
    torch.manual_seed(0)
    flips = [tensor(plain.flipped(IMAGE)) for _ in range(400)]
    mirrored = sum(torch.equal(flip, PIXELS.flip(2)) for flip in flips)
    untouched = sum(torch.equal(flip, PIXELS) for flip in flips)
    assert mirrored + untouched == 400
    assert mirrored == pytest.approx(200, abs=40)


def test_a_rotation_reads_the_nearest_pixel_of_at_most_fifteen_degrees() -> None:
    torch.manual_seed(1)
    angle = float(torch.empty(1).uniform_(-15, 15))
    torch.manual_seed(1)
    turned = tensor(plain.rotated(IMAGE))
    assert torch.equal(turned, tensor(IMAGE.rotate(angle)))
    levels = {tuple(pixel) for pixel in PIXELS.flatten(1).T.tolist()} | {(0, 0, 0)}
    assert {tuple(pixel) for pixel in turned.flatten(1).T.tolist()} <= levels
    assert not torch.equal(turned, PIXELS)


def test_what_comes_out_is_normalised() -> None:
    mean, std = (torch.tensor(each)[:, None, None] for each in (plain.MEAN, plain.STD))
    expected = (PIXELS / 255 - mean) / std
    torch.testing.assert_close(plain.normalised(plain.tensor(IMAGE)), expected)


def test_images_are_those_of_the_split() -> None:
    split = generate(3, stream=0)
    images = plain.Images(split)
    assert len(images) == 3
    image, label = images[2]
    assert label == split.labels[2]
    assert image.shape == (3, 32, 32)
    assert torch.equal(torch.from_numpy(images.pixels[2]).permute(2, 0, 1), split.images[2])
