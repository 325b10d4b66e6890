"""Own pictures in every layout that people have."""

import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residua.data import ImageFolder, Splits
from residua.data.decoding import Preparation
from residua.data.folder import read_test_files
from residua.data.layouts import list_files
from residua.errors import UserError


def save_image(path: Path, value: int = 100, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


def make_classes(root: Path, count: int, first: int = 0) -> None:
    """`count` pictures of cat and of dog, whose grey level tells them apart."""
    for k, name in enumerate(("cat", "dog")):
        for i in range(count):
            save_image(root / name / f"{i}.png", 100 * k + first + i)


def load(path: Path, **fields: object) -> Splits:
    return ImageFolder.model_validate({"path": path, "size": 8, **fields}).load(seed=0)


def values(splits: Splits) -> list[list[int]]:
    parts = (splits.train, splits.holdout, splits.test)
    return [[] if part is None else part.images[:, 0, 0, 0].tolist() for part in parts]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_val_has_several_names(tmp_path: Path, val: str) -> None:
    make_classes(tmp_path / "train", 2)
    make_classes(tmp_path / val, 1, 50)
    only_val = load(tmp_path)
    assert values(only_val) == [[0, 1, 100, 101], [], [50, 150]]
    assert only_val.notes == (
        "There is no test set: val is used as the test set, and selects the best epoch.",
    )
    make_classes(tmp_path / "test", 1, 60)
    assert values(load(tmp_path)) == [[0, 1, 100, 101], [50, 150], [60, 160]]
    assert load(tmp_path).notes == ()


def test_two_names_of_the_same_split_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        make_classes(tmp_path / name, 1)
    with pytest.raises(UserError, match="has val and valid, which mean the same"):
        load(tmp_path)


def test_split_folders_without_train_are_refused(tmp_path: Path) -> None:
    make_classes(tmp_path / "test", 1)
    make_classes(tmp_path / "val", 1)
    with pytest.raises(UserError, match="has test and val, but no train folder"):
        load(tmp_path)


def test_folder_of_classes_is_split_and_says_so(tmp_path: Path) -> None:
    make_classes(tmp_path, 10)
    splits = load(tmp_path)
    assert (len(splits.train), len(splits.test)) == (16, 4)
    (note,) = splits.notes
    assert "4 of 20 pictures (20 % of each class) are held out as the test set" in note
    assert "data.test_fraction" in note
    assert not set(splits.train.paths) & set(splits.test.paths)


def test_every_class_keeps_a_training_picture(tmp_path: Path) -> None:
    make_classes(tmp_path, 8)
    for name in ("emu", "fox", "gnu"):
        save_image(tmp_path / name / "only.png")
    for fraction in (0.1, 0.5, 0.9, 0.99):
        splits = load(tmp_path, test_fraction=fraction)
        assert set(splits.train.labels.tolist()) == {0, 1, 2, 3, 4}
        assert len(splits.test) >= 1
    assert "3 classes with one picture are only trained on" in splits.notes[0]


def test_too_few_pictures_to_split_are_refused(tmp_path: Path) -> None:
    make_classes(tmp_path, 1)
    with pytest.raises(UserError, match="2 pictures: too few to hold out a test set"):
        load(tmp_path)


def test_files_of_every_kind_and_depth_are_read(tmp_path: Path) -> None:
    names = (
        "a.png b.JPG c.jpeg d.webp e.bmp f.gif g.tif h.tiff i.avif j.ppm k.pgm l.tga m.jp2 n.ico"
    )
    for name in names.split():
        path = tmp_path / "cat" / "deep" / "deeper" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("L" if name.endswith("pgm") else "RGB", (16, 16), 80)
        if Path(name).suffix.lower() in Image.registered_extensions():
            image.save(path)
    make_classes(tmp_path, 2)
    splits = load(tmp_path)
    written = len(list((tmp_path / "cat" / "deep").rglob("*.*")))
    assert written >= 12
    assert len(splits.train) + len(splits.test) == 4 + written


def test_names_with_spaces_and_unicode(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Füchse 狐") for form in ("NFC", "NFD"))
    assert composed != decomposed
    save_image(tmp_path / "train" / composed / "ein Bild (1).png")
    save_image(tmp_path / "train" / "b c" / "ü.png")
    save_image(tmp_path / "test" / decomposed / "x.png")
    splits = load(tmp_path)
    assert splits.train.classes == (composed, "b c")
    assert splits.test.labels.tolist() == [0]


def test_what_is_left_out_is_said_with_a_count(tmp_path: Path) -> None:
    make_classes(tmp_path, 5)
    (tmp_path / "cat" / "notes.txt").touch()
    (tmp_path / "dog" / "more.txt").touch()
    (tmp_path / "README").touch()
    (tmp_path / "dog" / ".DS_Store").touch()
    save_image(tmp_path / "loose.png")
    note = load(tmp_path).notes[-1]
    assert "2 .txt" in note
    assert "1 .png beside the class folders" in note
    assert "1 without suffix beside the class folders" in note


def test_unsupported_pictures_are_not_dropped_in_silence(tmp_path: Path) -> None:
    make_classes(tmp_path, 3)
    (tmp_path / "cat" / "phone.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(UserError, match=r"1 of 7 .*phone.HEIC \(.heic is not supported: convert"):
        load(tmp_path)
    with pytest.warns(UserWarning, match="1 of 7"):
        assert load(tmp_path, unreadable="skip").skipped


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    make_classes(tmp_path / "pictures", 3)
    elsewhere = tmp_path / "elsewhere"
    save_image(elsewhere / "far.png")
    (tmp_path / "pictures" / "cat" / "linked").symlink_to(elsewhere)
    (tmp_path / "pictures" / "cat" / "again").symlink_to(tmp_path / "pictures" / "cat")
    (tmp_path / "pictures" / "dog" / "linked.png").symlink_to(elsewhere / "far.png")
    listing = list_files(tmp_path / "pictures")
    assert Counter(listing.splits["train"].labels) == {"cat": 4, "dog": 4}
    (elsewhere / "far.png").unlink()
    with pytest.raises(UserError, match=r"linked\.png \(No such file or directory\)"):
        load(tmp_path / "pictures")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    make_classes(tmp_path, 3)
    (tmp_path / "cat").chmod(0)
    try:
        with pytest.raises(UserError, match=r"cannot read .*cat: Permission denied"):
            load(tmp_path)
    finally:
        (tmp_path / "cat").chmod(0o700)


def test_errors_of_the_system_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_classes(tmp_path, 3)

    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot read .*: Permission denied"):
        load(tmp_path)


def test_single_class_is_refused_with_the_folder_that_was_meant(tmp_path: Path) -> None:
    make_classes(tmp_path / "pictures", 3)
    with pytest.raises(UserError, match=r"did you mean --data.path \S+/pictures\?"):
        load(tmp_path)
    save_image(tmp_path / "other" / "cat" / "0.png")
    with pytest.raises(UserError, match="has a single class, 'cat': a classifier needs two"):
        load(tmp_path / "other")


def test_folder_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_classes(tmp_path, 5)
    from residua.data import folder

    decode = folder.decode

    def slowly(paths: tuple[Path, ...], preparation: object) -> object:
        decoded = decode(paths, preparation)  # type: ignore[arg-type]
        paths[0].unlink()
        return decoded

    monkeypatch.setattr(folder, "decode", slowly)
    with pytest.raises(UserError, match=r"changes while it is read: 1 files, the first is .*png"):
        load(tmp_path)


def write_table(root: Path, text: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    make_classes(root / "pictures", 5)
    (root / name).write_text(text, encoding=encoding)
    return root / name


ROWS = [f"pictures/{name}/{i}.png" for name in ("cat", "dog") for i in range(5)]


def test_table_without_a_split(tmp_path: Path) -> None:
    lines = [f"{path},{path.split('/')[1]}" for path in ROWS]
    bare = load(write_table(tmp_path, "\n".join(lines)))
    headed = load(write_table(tmp_path, "\n".join(["image,label", *lines]), "headed.csv"))
    assert bare.train.classes == ("cat", "dog")
    assert (len(bare.train), len(bare.test)) == (8, 2)
    assert headed.test.checksum == bare.test.checksum
    assert "There is no split" in bare.notes[0]


def test_table_with_a_split_in_any_order_of_columns(tmp_path: Path) -> None:
    splits = ["train", "train", "train", "Valid", "test"] * 2
    rows = list(zip(ROWS, splits, strict=True))
    text = "Split\tclass\tignored\tfilename\n" + "".join(
        f"{split}\t{path.split('/')[1]}\tx\t{path}\n" for path, split in rows
    )
    table = write_table(tmp_path, text, "labels.tsv", "utf-8-sig")
    assert values(load(table)) == [[0, 1, 2, 100, 101, 102], [3, 103], [4, 104]]
    bare = "\n".join(f"{path};{path.split('/')[1]};{split}" for path, split in rows)
    assert values(load(write_table(tmp_path, bare, "bare.csv"))) == values(load(table))


def test_paths_of_a_table_are_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{path},{path.split('/')[1]}" for path in ROWS[1:-1]]
    lines += [f"{tmp_path / ROWS[0]},cat", ROWS[-1].replace("/", "\\") + ",dog"]
    table = write_table(tmp_path, "\n".join(lines))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    splits = load(Path("..") / table.name)
    assert len(splits.train) + len(splits.test) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("path,label\n", "has a header, but no rows"),
        ("path,name\na.png,cat\n", "has no column of labels"),
        ("a.png\n", "has no column of labels"),
        ("path,label\na.png\n", "line 2: expected 2 columns, got 1"),
        ("path,label\na.png, \n", "line 2: the label is empty"),
        ("path,label\n,cat\n", "line 2: the path is empty"),
        ("path,label,split\na.png,cat,tset\n", "line 2: 'tset' is no split; choose from train"),
        ("path,label,split\na.png,cat,train\nb.png,dog,train\n", "needs train, and test or val"),
        ("path,label,split\na.png,cat,test\nb.png,dog,test\n", "needs train, and test or val"),
        ("a.png,cat\na.png,dog\n", "line 2: a.png has another class or split than in line 1"),
        ('path,label\n"a.png,cat\n', "cannot be read as a table: "),
        ("a.png,cat\nb.png,cat\n", "has a single class, 'cat'"),
        ("a.png,cat\nb.png,dog\nc.png,dog\n", "3 of 3 image files cannot be read: .*a.png"),
    ],
)
def test_wrong_tables_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        load(tmp_path / "t.csv")
    assert "\n" not in str(raised.value)


def test_files_that_are_no_table_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as a table in UTF-8"):
        load(tmp_path / "t.csv")
    with pytest.raises(UserError, match=r"neither a folder nor a .csv"):
        load(save_image(tmp_path / "a.png"))


def test_data_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = ImageFolder(path=Path("pictures"))
    assert data.resolved().path == tmp_path / "pictures"
    assert data.label == "pictures"
    assert ImageFolder(path=Path()).label == tmp_path.name


@pytest.mark.parametrize(
    ("fit", "top", "left"), [("crop", 200, 200), ("stretch", 200, 10), ("pad", 128, 10)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_decides_how_pictures_become_square(
    tmp_path: Path, fit: str, top: int, left: int, channels: int
) -> None:
    """A wide picture: dark on both sides, light in the middle."""
    pixels = np.full((40, 120, 3), 10, np.uint8)
    pixels[:, 40:80] = 200
    for name in ("a", "b"):
        for i in range(2):
            path = tmp_path / name / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
    images = load(tmp_path, size=24, fit=fit, channels=channels).train.images
    assert images.shape[1:] == (channels, 24, 24)
    assert (images[0, :, 0, 12] == top).all()
    assert (abs(images[0, :, 12, 0].int() - left) <= (2 if fit != "crop" else 20)).all()


def test_another_test_set_may_lack_classes_but_not_have_unknown_ones(tmp_path: Path) -> None:
    classes, how = ("ant", "cat", "dog"), Preparation(8)
    save_image(tmp_path / "flat" / "dog" / "0.png", 7)
    flat = read_test_files(tmp_path / "flat", how, classes)
    assert (flat.classes, flat.labels.tolist()) == (classes, [2])
    make_classes(tmp_path / "split" / "test", 1, 60)
    make_classes(tmp_path / "split" / "train", 1)
    split = read_test_files(tmp_path / "split", how, classes)
    assert split.images[:, 0, 0, 0].tolist() == [60, 160]
    rows = [f"split/{name}/cat/0.png,cat,{name}" for name in ("train", "test")]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert read_test_files(tmp_path / "t.csv", how, classes).images[:, 0, 0, 0].tolist() == [60]
    with pytest.raises(UserError, match="classes that the network does not know: dog"):
        read_test_files(tmp_path / "flat", how, ("cat",))
    (tmp_path / "flat" / "dog" / "1.png").touch()
    with pytest.raises(UserError, match=r"1 of 2 image files cannot be read: .*the file is empty"):
        read_test_files(tmp_path / "flat", how, classes)
    with pytest.raises(UserError, match="no folder"):
        read_test_files(tmp_path / "absent", how, classes)
