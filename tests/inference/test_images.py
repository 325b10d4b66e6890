"""Images of any kind become the same pixels; what is no image is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from residua.data.decoding import Preparation
from residua.inference.export_graph import crop_and_resize, prepare
from residua.inference.images import UnreadableImage, each_image, read_pixels, to_pixels

SIZE = 16


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)


def pillow(pixels: np.ndarray, size: int = SIZE) -> np.ndarray:
    """The definition: centre crop and antialiased bicubic filter of Pillow, rows first."""
    image, side = Image.fromarray(pixels), min(pixels.shape[:2])
    left, top = (image.width - side) / 2, (image.height - side) / 2
    horizontal = (left, 0, left + side, image.height)
    image = image.resize((size, image.height), Image.Resampling.BICUBIC, box=horizontal)
    vertical = (0, top, size, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=vertical))


def test_every_kind_of_rgb_image_gives_the_pixels_of_pillow(
    pixels: np.ndarray, tmp_path: Path
) -> None:
    expected = torch.from_numpy(pillow(pixels).transpose(2, 0, 1).copy())
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a picture.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    kinds = [
        image,
        pixels,
        pixels[::-1][::-1],
        tensor,
        pixels / 255.0,
        (pixels / 255).astype(np.float32),
        tensor.float() / 255,
        tensor.double() / 255,
    ]
    for kind in kinds:
        assert torch.equal(to_pixels(kind, Preparation(SIZE)), expected)
    for path in (tmp_path / "a picture.png", str(tmp_path / "a picture.png")):
        read = read_pixels(path, Preparation(SIZE))
        assert isinstance(read, torch.Tensor)
        assert torch.equal(read, expected)


def test_grey_images_become_rgb(pixels: np.ndarray) -> None:
    grey = pixels[:, :, 0]
    expected = to_pixels(np.stack([grey] * 3, axis=2), Preparation(SIZE))
    tensor = torch.from_numpy(grey.copy())
    for kind in (grey, grey[:, :, None], tensor, tensor[None], Image.fromarray(grey)):
        assert torch.equal(to_pixels(kind, Preparation(SIZE)), expected)


def test_transparent_pixels_become_mid_grey(pixels: np.ndarray) -> None:
    alpha = np.zeros((30, 41, 1), dtype=np.uint8)
    transparent = np.concatenate([pixels, alpha], axis=2)
    for kind in (transparent, torch.from_numpy(transparent).permute(2, 0, 1)):
        assert (to_pixels(kind, Preparation(SIZE)) == 128).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 20, 20), dtype=np.uint8), r"arrays are \(H, W\) or \(H, W, C\)"),
        (torch.zeros(20, 20, 3, dtype=torch.uint8), r"tensors are \(H, W\) or \(C, H, W\)"),
        (np.zeros((20, 20, 2), dtype=np.uint8), "1, 3 or 4 channels"),
        (np.zeros((0, 20, 3), dtype=np.uint8), "shape"),
        (np.zeros((20, 20, 3), dtype=np.int64), "int64, not uint8"),
        (np.full((20, 20, 3), 255.0), "before normalization"),
        (np.full((20, 20, 3), np.nan), "before normalization"),
        (torch.full((3, 20, 20), -0.5), "before normalization"),
        (17, "int is not an image"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_pixels(image, Preparation(SIZE))


def test_files_that_cannot_be_read_have_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.png").write_text("text")
    Image.new("RGB", (40, 30)).save(tmp_path / "whole.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    reasons = {}
    for path in (tmp_path / "none.png", tmp_path / "text.png", cut, tmp_path):
        read = read_pixels(path, Preparation(SIZE))
        assert isinstance(read, UnreadableImage)
        reasons[path.name] = read.reason
    assert reasons["none.png"] == "No such file or directory"
    assert reasons["text.png"] == "not an image"
    assert "truncated" in reasons["cut.png"]
    assert all(str(tmp_path) not in reason for reason in reasons.values())
    monkeypatch.setattr("residua.inference.images.MAX_PIXELS", 1000)
    large = read_pixels(tmp_path / "whole.png", Preparation(SIZE))
    assert isinstance(large, UnreadableImage)
    assert large.reason == "40 x 30 pixels are too many; the limit is 1,000"


def test_one_image_is_a_list_of_one() -> None:
    for one in ("a.png", Path("a.png"), np.zeros((2, 2)), torch.zeros(3, 2, 2)):
        assert list(each_image(one)) == [one]
    assert len(list(each_image(np.zeros((5, 2, 2, 3))))) == 5
    assert list(each_image(iter(["a", "b"]))) == ["a", "b"]


@pytest.mark.parametrize("seed", range(40))
def test_the_graph_resizes_as_pillow_does(seed: int) -> None:
    """Every pixel, whatever the sizes: black and white pictures overshoot the most."""
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 200, 2)
    size = int(random.integers(8, 65))
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if seed % 2:
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    images = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    resized = crop_and_resize(images.repeat(2, 1, 1, 1), size)
    assert resized.dtype == torch.float32
    for image in resized:
        assert np.array_equal(image.numpy(), pillow(pixels, size).transpose(2, 0, 1))


def test_images_of_the_right_size_are_not_changed(pixels: np.ndarray) -> None:
    square = pixels[:30, :30]
    images = torch.from_numpy(square.transpose(2, 0, 1).copy())
    assert torch.equal(to_pixels(square, Preparation(30)), images)
    assert torch.equal(crop_and_resize(images[None], 30)[0], images.float())


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(40, 50), (50, 40), (7, 31), (31, 7), (16, 16), (9, 9)])
def test_graph_prepares_images_as_pillow_does(
    fit: Any, channels: Any, shape: tuple[int, int]
) -> None:
    how = Preparation(16, fit, channels)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    assert torch.equal(prepare(images, how)[0].byte(), to_pixels(pixels, how))
