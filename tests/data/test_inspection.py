"""`residua data inspect`: counts, sizes, duplicates, unreadable files, a fitting recipe."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residua.cli import main
from residua.data.inspection import alike_groups, inspect, suggest
from residua.data.shapes import generate
from residua.recipes.loading import resolve


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train and test folders with duplicates, near duplicates and unreadable files."""
    root = tmp_path_factory.mktemp("data") / "my pictures"
    shapes = generate(900, stream=1)
    for label, name in ((0, "disc"), (40, "square")):
        chosen = shapes.images[shapes.labels == label].permute(0, 2, 3, 1).numpy()
        for i, pixels in enumerate(chosen):
            folder = root / ("train" if i < 7 else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((40 + 8 * i, 40)).save(folder / f"{i}.png")
    train, test = root / "train", root / "test"
    shutil.copy(train / "disc" / "0.png", test / "disc" / "copy.png")
    shutil.copy(train / "disc" / "1.png", train / "square" / "wrong.png")
    Image.open(train / "square" / "2.png").convert("RGB").save(
        test / "square" / "again.jpg", quality=70
    )
    (train / "disc" / "broken.png").write_bytes(b"\x89PNG\r\n")
    return root


def test_inspection(pictures: Path) -> None:
    found = inspect(pictures)
    assert found.counts == {"disc": {"train": 7, "test": 3}, "square": {"train": 8, "test": 3}}
    assert [error.path.name for error in found.unreadable] == ["broken.png"]
    copied, wrong = found.exact
    assert {path.name for path in copied.paths} == {"0.png", "copy.png"}
    assert (copied.crosses_splits, copied.crosses_labels) == (True, False)
    assert (wrong.crosses_splits, wrong.crosses_labels) == (False, True)
    (near,) = found.near
    assert {path.name for path in near.paths} == {"2.png", "again.jpg"}
    assert near.crosses_splits
    assert {name: shown.shape for name, shown in found.samples.items()} == {
        "disc": (7, 64, 64, 3),
        "square": (8, 64, 64, 3),
    }


def test_command_prints_what_it_finds(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["data", "inspect", str(pictures), "--output", str(tmp_path / "page")])
    out = capsys.readouterr().out
    assert "21 pictures of 2 classes in" in out
    assert "Equal files: 2 groups; 1 in two splits, 1 in two classes" in out
    assert "Pictures that look the same: 1 groups; 1 in two splits" in out
    assert "broken.png: " in out
    assert "residua train quickstart --data.kind folder --data.path '" in out
    page = (tmp_path / "page" / "inspection.html").read_text()
    assert "my pictures" in page
    assert "again.jpg" in page
    with Image.open(tmp_path / "page" / "contact-sheet.png") as sheet:
        assert sheet.width > 100

    main(["data", "inspect", str(pictures), "--json"])
    tree = json.loads(capsys.readouterr().out)
    assert tree["classes"]["disc"] == {"train": 7, "test": 3}
    assert len(tree["duplicates"]) == 2
    assert len(tree["near_duplicates"]) == 1
    assert len(tree["pictures"]) == 21


@pytest.mark.parametrize(
    "words", [["absent"], [".", "--test-fraction", "1"], [".", "--output", "f"]]
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f").touch()
    with pytest.raises(SystemExit) as raised:
        main(["data", "inspect", *words])
    assert raised.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_suggested_command_is_a_recipe(pictures: Path) -> None:
    advice = suggest(inspect(pictures))
    words = ["--data.kind", "folder", "--data.path", str(pictures), "--epochs", str(advice.epochs)]
    recipe = resolve(advice.recipe, [*words, *advice.options])
    assert recipe.batch_size <= 15
    assert "--data.unreadable" in advice.options


def test_suggestions_follow_the_pictures(tmp_path: Path) -> None:
    for name, count in (("a", 12), ("b", 3)):
        for i in range(count):
            path = tmp_path / "data" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(
                np.random.default_rng(i).integers(0, 256, (100, 200)).astype("u1")
            ).save(path)
    options = suggest(inspect(tmp_path / "data")).options
    assert {"pad", "1", "balanced", "64"} <= set(options)


def test_groups_are_those_of_all_comparisons() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 300).astype(np.uint64)
    hashes[200:] = hashes[:100]
    for index in range(100):  # Pairs that differ in 0 to 9 bits.
        for bit in rng.choice(64, index % 10, replace=False):
            hashes[200 + index] ^= np.uint64(1) << np.uint64(bit)
    thumbnails = np.zeros((300, 16, 16, 3), np.uint8)
    difference = hashes[:, None] ^ hashes[None]
    bits = np.unpackbits(difference[..., None].view(np.uint8), axis=-1).sum(-1)
    expected = [[i, j] for i, j in np.argwhere(bits <= 6).tolist() if i < j]
    assert len(expected) == 70
    assert alike_groups(hashes, thumbnails) == expected
    thumbnails[200:] = 100
    assert alike_groups(hashes, thumbnails) == []
    assert alike_groups(hashes[:1], thumbnails[:1]) == []


def test_blank_images_are_compared_by_colour_at_a_bounded_cost() -> None:
    count = 5_000
    thumbnails = np.zeros((count, 2, 2, 3), np.uint8)
    thumbnails[: count // 2] = 200
    started = time.monotonic()
    groups = alike_groups(np.zeros(count, np.uint64), thumbnails)
    assert [len(group) for group in groups] == [count // 2] * 2
    assert time.monotonic() - started < 30
