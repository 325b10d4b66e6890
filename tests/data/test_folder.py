import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residua.data import ImageFolder, decoding
from residua.data.dataset import MAX_CLASSES, check_classes
from residua.data.decoding import read_image
from residua.errors import UserError


def save_image(path: Path, value: int = 100, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A train and a test folder with two classes."""
    for k, name in enumerate(("cat", "dog")):
        for i in range(3):
            save_image(tmp_path / "train" / name / f"{i}.png", 100 * k + i)
        save_image(tmp_path / "test" / name / "0.png", 100 * k + 50)
    return tmp_path


def pixel_values(images: object) -> list[int]:
    return images[:, 0, 0, 0].tolist()  # type: ignore[index]


def test_train_and_test_folders(root: Path) -> None:
    splits = ImageFolder(path=root, size=8).load(seed=0)
    assert splits.train.classes == splits.test.classes == ("cat", "dog")
    assert splits.train.images.shape == (6, 3, 8, 8)
    assert pixel_values(splits.train.images) == [0, 1, 2, 100, 101, 102]
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert pixel_values(splits.test.images) == [50, 150]
    assert splits.holdout is None


@pytest.mark.parametrize("split", ["train", "test"])
def test_class_name_that_is_not_utf8_is_refused_before_an_image_is_read(
    split: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training would work, and writing its report would fail."""
    monkeypatch.setattr("residua.data.folder.decode", None)
    save_image(root / split / os.fsdecode(b"b\xffd") / "0.png")
    with pytest.raises(UserError, match=r"class 'b\\xffd' is not valid UTF-8: rename its folder"):
        ImageFolder(path=root, size=8).load(seed=0)


def test_more_classes_than_a_report_can_show_are_refused() -> None:
    check_classes(["a"] * MAX_CLASSES)
    with pytest.raises(UserError, match="10,001 classes are more than 10,000"):
        check_classes(["a"] * (MAX_CLASSES + 1))


def test_val_is_the_holdout_or_the_test_set_if_there_is_no_test(root: Path) -> None:
    save_image(root / "val" / "dog" / "0.png", 77)
    both = ImageFolder(path=root, size=8).load(seed=0)
    assert both.holdout is not None
    assert (pixel_values(both.holdout.images), both.holdout.labels.tolist()) == ([77], [1])
    assert pixel_values(both.test.images) == [50, 150]
    with pytest.raises(UserError, match="holdout of its own"):
        ImageFolder(path=root, size=8, holdout=2).load(seed=0)
    (root / "test").rename(root / "unused")
    val_only = ImageFolder(path=root, size=8).load(seed=0)
    assert val_only.holdout is None
    assert pixel_values(val_only.test.images) == [77]


def test_test_fraction_does_not_depend_on_the_seed(tmp_path: Path) -> None:
    for k, name in enumerate("ab"):
        for i in range(10):
            save_image(tmp_path / name / f"{i}.bmp", 100 * k + i)
    splits = ImageFolder(path=tmp_path, size=8, test_fraction=0.3).load(seed=0)
    assert splits.test.labels.tolist() == [0] * 3 + [1] * 3
    all_values = pixel_values(splits.train.images) + pixel_values(splits.test.images)
    assert sorted(all_values) == [*range(10), *range(100, 110)]
    again = ImageFolder(path=tmp_path, size=8, test_fraction=0.3, holdout=4).load(seed=5)
    assert again.test.checksum == splits.test.checksum
    assert again.holdout is not None
    assert len(again.holdout) == 4


def test_short_side_is_resized_and_the_centre_cropped(tmp_path: Path) -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = (10, 200, 30)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide", "tall"):
        inner = read_image(tmp_path / f"{name}.png", 16)[2:-2, 2:-2]
        assert (inner == (10, 200, 30)).all()
    assert read_image(tmp_path / "wide.png", 64).shape == (64, 64, 3)


def test_images_of_the_right_size_are_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", 32), pixels)


def test_downsampling_is_antialiased(tmp_path: Path) -> None:
    checkerboard = np.indices((256, 256)).sum(0) % 2 * 255
    Image.fromarray(checkerboard.astype(np.uint8)).save(tmp_path / "checkerboard.png")
    assert abs(read_image(tmp_path / "checkerboard.png", 32).astype(int) - 127).max() <= 3


def test_all_modes_are_converted_to_rgb(tmp_path: Path) -> None:
    grey = Image.new("L", (8, 8), 60)
    grey.save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png", 8) == 60).all()

    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png", 8) == round(40000 / 257)).all()

    palette = Image.new("RGB", (8, 8), (200, 10, 90)).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "palette.png")
    assert (read_image(tmp_path / "palette.png", 8) == (200, 10, 90)).all()

    palette.info["transparency"] = palette.getpixel((0, 0))
    palette.save(tmp_path / "see_through.png", transparency=palette.getpixel((0, 0)))
    assert (read_image(tmp_path / "see_through.png", 8) == 128).all()

    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png", 8) == 128).all()
    Image.new("LA", (8, 8), (200, 255)).save(tmp_path / "opaque.png")
    assert (read_image(tmp_path / "opaque.png", 8) == 200).all()

    Image.new("1", (8, 8), 1).save(tmp_path / "bit.png")
    assert (read_image(tmp_path / "bit.png", 8) == 255).all()

    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "print.jpg")
    assert (read_image(tmp_path / "print.jpg", 8) >= 250).all()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    image.paste((255, 255, 255), (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # Rotated by 180 degrees.
    image.save(tmp_path / "down.png", exif=exif)
    rows = read_image(tmp_path / "down.png", 8)[:, 0, 0]
    assert rows.tolist() == [0] * 4 + [255] * 4


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def add_unreadable_files(root: Path) -> None:
    (root / "train" / "cat" / "text.png").write_text("not an image")
    complete = save_image(root / "train" / "dog" / "truncated.png", size=(64, 64)).read_bytes()
    (root / "train" / "dog" / "truncated.png").write_bytes(complete[: len(complete) // 2])
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b""))
    )
    (root / "train" / "dog" / "bomb.png").write_bytes(bomb)
    (root / "train" / "dog" / "empty.jpg").touch()


def test_error_counts_all_unreadable_files_and_names_the_first(root: Path) -> None:
    add_unreadable_files(root)
    with pytest.raises(
        UserError, match=r"4 of 12 image files cannot be read: .*text\.png"
    ) as raised:
        ImageFolder(path=root, size=8).load(seed=0)
    assert str(raised.value).count(str(root)) == 3
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("`--data.unreadable skip` leaves them out")
    assert "decompression bomb" in str(raised.value)


def test_unreadable_files_are_skipped_with_one_warning(root: Path) -> None:
    add_unreadable_files(root)
    with pytest.warns(UserWarning, match="4 of 12 image files cannot be read") as caught:
        splits = ImageFolder(path=root, size=8, unreadable="skip").load(seed=0)
    assert len(caught) == 1
    assert pixel_values(splits.train.images) == [0, 1, 2, 100, 101, 102]
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [Path(path).name for path in splits.train.paths] == ["0.png", "1.png", "2.png"] * 2
    assert len(splits.skipped) == 4
    assert any("empty.jpg: the file is empty" in each for each in splits.skipped)


def test_no_readable_file_is_an_error_even_with_skip(tmp_path: Path) -> None:
    for name in ("a/x", "a/y", "b/x", "b/y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_text("no")
    with pytest.raises(UserError, match="4 of 4"):
        ImageFolder(path=tmp_path, unreadable="skip").load(seed=0)


def test_image_above_the_limit_of_pillow_is_unreadable_and_below_it_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    save_image(root / "train" / "cat" / "large.png", size=(12, 12))
    assert len(ImageFolder(path=root, size=8).load(seed=0).train) == 7
    save_image(root / "train" / "cat" / "larger.png", size=(15, 15))
    with pytest.raises(UserError, match=r"1 of 10 .*larger\.png.*decompression bomb"):
        ImageFolder(path=root, size=8).load(seed=0)


def test_large_jpeg_is_decoded_at_a_reduced_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 50, (400, 600, 3), dtype=np.uint8)
    pixels[:, 300:] += np.array((200, 100, 50), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3  # Rotated by 180 degrees.
    Image.fromarray(pixels).save(tmp_path / "large.jpg", quality=95, exif=exif)
    whole = read_image(tmp_path / "large.jpg", 8)
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 10)
    reduced = read_image(tmp_path / "large.jpg", 8)
    assert abs(whole.astype(int) - reduced).max() <= 6
    assert not np.array_equal(whole, reduced)
    assert whole[4, 0, 0] > 150
    assert whole[4, 7, 0] < 50


def test_large_images_are_decoded_one_at_a_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 10)
    assert pixel_values(ImageFolder(path=root, size=8).load(seed=0).test.images) == [50, 150]


def test_hidden_and_other_files_are_ignored(root: Path) -> None:
    (root / "train" / "cat" / "notes.txt").write_text("x")
    (root / "train" / "cat" / "._0.png").write_text("x")
    (root / "train" / ".git").mkdir()
    save_image(root / "train" / "cat" / "UPPER.PNG", 7)
    splits = ImageFolder(path=root, size=8).load(seed=0)
    assert pixel_values(splits.train.images) == [0, 1, 2, 7, 100, 101, 102]


def test_unknown_class_in_test_is_rejected(root: Path) -> None:
    save_image(root / "test" / "emu" / "0.png")
    with pytest.raises(UserError, match="test has classes that train does not have: emu"):
        ImageFolder(path=root, size=8).load(seed=0)


def test_test_may_have_fewer_classes(root: Path) -> None:
    (root / "test" / "cat" / "0.png").unlink()
    (root / "test" / "cat").rmdir()
    splits = ImageFolder(path=root, size=8).load(seed=0)
    assert splits.test.labels.tolist() == [1]
    assert splits.test.classes == ("cat", "dog")


def test_error_for_a_wrong_layout_describes_the_expected_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*expected PATH/train/CLASS"):
        ImageFolder(path=tmp_path / "absent").load(seed=0)
    with pytest.raises(UserError, match="has no classes: expected"):
        ImageFolder(path=tmp_path).load(seed=0)
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match="cat has no images: expected"):
        ImageFolder(path=tmp_path).load(seed=0)
    save_image(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(
        UserError, match=r"no test and no val folder: use --data.path \S+/train to hold out"
    ):
        ImageFolder(path=tmp_path).load(seed=0)
    save_image(tmp_path / "one" / "a" / "0.png")
    with pytest.raises(UserError, match="has a single class, 'a'"):
        ImageFolder(path=tmp_path / "one").load(seed=0)
