import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residua.data import Folder
from residua.data.folder import read_image
from residua.errors import UserError


def put(file: Path, value: int = 100, size: tuple[int, int] = (8, 8)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(file)
    return file


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    """A train and a test folder of two classes."""
    for k, name in enumerate(("cat", "dog")):
        for i in range(3):
            put(tmp_path / "train" / name / f"{i}.png", 100 * k + i)
        put(tmp_path / "test" / name / "0.png", 100 * k + 50)
    return tmp_path


def values(images: object) -> list[int]:
    return images[:, 0, 0, 0].tolist()  # type: ignore[index]


def test_train_and_test_folders(divided: Path) -> None:
    splits = Folder(path=divided, size=8).load(seed=0)
    assert splits.train.classes == splits.test.classes == ("cat", "dog")
    assert splits.train.images.shape == (6, 3, 8, 8)
    assert values(splits.train.images) == [0, 1, 2, 100, 101, 102]
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert values(splits.test.images) == [50, 150]
    assert splits.holdout is None


def test_val_stands_in_for_test_and_is_the_holdout_beside_it(divided: Path) -> None:
    put(divided / "val" / "dog" / "0.png", 77)
    both = Folder(path=divided, size=8).load(seed=0)
    assert both.holdout is not None
    assert (values(both.holdout.images), both.holdout.labels.tolist()) == ([77], [1])
    assert values(both.test.images) == [50, 150]
    with pytest.raises(UserError, match="holdout of its own"):
        Folder(path=divided, size=8, holdout=2).load(seed=0)
    (divided / "test").rename(divided / "unused")
    exclusive_lock = Folder(path=divided, size=8).load(seed=0)
    assert exclusive_lock.holdout is None
    assert values(exclusive_lock.test.images) == [77]


def test_an_undivided_folder_is_divided_alike_whatever_the_seed(tmp_path: Path) -> None:
    for k, name in enumerate("ab"):
        for i in range(10):
            put(tmp_path / name / f"{i}.bmp", 100 * k + i)
    splits = Folder(path=tmp_path, size=8, test_fraction=0.3).load(seed=0)
    assert splits.test.labels.tolist() == [0] * 3 + [1] * 3
    together = values(splits.train.images) + values(splits.test.images)
    assert sorted(together) == [*range(10), *range(100, 110)]
    again = Folder(path=tmp_path, size=8, test_fraction=0.3, holdout=4).load(seed=5)
    assert again.test.checksum == splits.test.checksum
    assert again.holdout is not None
    assert len(again.holdout) == 4


def test_short_side_is_resized_and_the_centre_kept(tmp_path: Path) -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = (10, 200, 30)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide", "tall"):
        inner = read_image(tmp_path / f"{name}.png", 16)[2:-2, 2:-2]
        assert (inner == (10, 200, 30)).all()
    assert read_image(tmp_path / "wide.png", 64).shape == (64, 64, 3)


def test_right_sized_images_keep_their_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", 32), pixels)


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    fine = np.indices((256, 256)).sum(0) % 2 * 255
    Image.fromarray(fine.astype(np.uint8)).save(tmp_path / "fine.png")
    assert abs(read_image(tmp_path / "fine.png", 32).astype(int) - 127).max() <= 3


def test_modes_become_rgb(tmp_path: Path) -> None:
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


def test_exif_orientation_is_undone(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    image.paste((255, 255, 255), (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # Held upside down.
    image.save(tmp_path / "down.png", exif=exif)
    rows = read_image(tmp_path / "down.png", 8)[:, 0, 0]
    assert rows.tolist() == [0] * 4 + [255] * 4


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def spoil(divided: Path) -> None:
    (divided / "train" / "cat" / "text.png").write_text("no image")
    whole = put(divided / "train" / "dog" / "cut.png", size=(64, 64)).read_bytes()
    (divided / "train" / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    (divided / "train" / "dog" / "bomb.png").write_bytes(bomb)
    (divided / "train" / "dog" / "empty.jpg").touch()


def test_unreadable_files_are_all_counted_and_the_first_named(divided: Path) -> None:
    spoil(divided)
    with pytest.raises(UserError, match=r"4 of 10 image files cannot be read: .*text\.png") as told:
        Folder(path=divided, size=8).load(seed=0)
    assert str(told.value).count(str(divided)) == 3
    assert "\n" not in str(told.value)
    assert "decompression bomb" in str(told.value)


def test_unreadable_files_are_skipped_with_one_warning(divided: Path) -> None:
    spoil(divided)
    with pytest.warns(UserWarning, match="4 of 10 image files cannot be read") as caught:
        splits = Folder(path=divided, size=8, unreadable="skip").load(seed=0)
    assert len(caught) == 1
    assert values(splits.train.images) == [0, 1, 2, 100, 101, 102]
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_nothing_readable_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_text("no")
    with pytest.raises(UserError, match="2 of 2"):
        Folder(path=tmp_path, unreadable="skip").load(seed=0)


def test_bombs_just_over_pillows_limit_count_too(
    divided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    put(divided / "train" / "cat" / "large.png", size=(12, 12))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with pytest.raises(UserError, match=r"1 of 7 .*large\.png"):
            Folder(path=divided, size=8).load(seed=0)


def test_other_files_and_hidden_ones_are_passed_over(divided: Path) -> None:
    (divided / "train" / "cat" / "notes.txt").write_text("x")
    (divided / "train" / "cat" / "._0.png").write_text("x")
    (divided / "train" / ".git").mkdir()
    put(divided / "train" / "cat" / "LOUD.PNG", 7)
    splits = Folder(path=divided, size=8).load(seed=0)
    assert values(splits.train.images) == [0, 1, 2, 7, 100, 101, 102]


def test_classes_of_test_have_to_be_known(divided: Path) -> None:
    put(divided / "test" / "emu" / "0.png")
    with pytest.raises(UserError, match="test has classes that train has not: emu"):
        Folder(path=divided, size=8).load(seed=0)


def test_test_may_have_fewer_classes(divided: Path) -> None:
    (divided / "test" / "cat" / "0.png").unlink()
    (divided / "test" / "cat").rmdir()
    splits = Folder(path=divided, size=8).load(seed=0)
    assert splits.test.labels.tolist() == [1]
    assert splits.test.classes == ("cat", "dog")


def test_missing_layouts_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*expected PATH/train/CLASS"):
        Folder(path=tmp_path / "absent").load(seed=0)
    with pytest.raises(UserError, match="has no classes: expected"):
        Folder(path=tmp_path).load(seed=0)
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match="cat has no images: expected"):
        Folder(path=tmp_path).load(seed=0)
    put(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(UserError, match="a train but no test folder"):
        Folder(path=tmp_path).load(seed=0)
    put(tmp_path / "one" / "a" / "0.png")
    with pytest.raises(UserError, match="leaves nothing to train on"):
        Folder(path=tmp_path / "one").load(seed=0)
