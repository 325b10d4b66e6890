"""docs/own-pictures.md: its commands are run on made pictures, as a newcomer would."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from residua.cli import main
from residua.data import ImageFolder
from residua.data.cache import MAX_BYTES, MIN_FILES
from residua.data.decoding import MAX_PIXELS
from residua.data.shapes import generate

PAGE = (Path(__file__).parents[1] / "docs" / "own-pictures.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[1:]
    for line in re.findall(r"(?:^    |`)(residua (?:train|data)[^`\n#]*)", PAGE, re.MULTILINE)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `pictures`, 60 of three classes, and a table of them."""
    folder = tmp_path_factory.mktemp("newcomer")
    shapes = generate(2000, stream=1)
    rows = []
    for label, name in ((0, "disc"), (40, "square"), (65, "big star")):
        images = shapes.images[shapes.labels == label].permute(0, 2, 3, 1).numpy()
        for i, pixels in enumerate(images):
            path = folder / "pictures" / name / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((40 + i, 60)).save(path)
            rows.append(f"{path.relative_to(folder)},{name}")
    (folder / "pictures.csv").write_text("\n".join(["path,label", *rows]))
    return folder


def test_page_has_commands_for_every_setting() -> None:
    fields = set(ImageFolder.model_fields) - {"kind", "limit"}
    words = {word for command in COMMANDS for word in command}
    assert {f"--data.{field.replace('_', '-')}" for field in fields} <= words
    assert f"{MAX_PIXELS:,} pixels" in PAGE
    assert f"at least {MIN_FILES} files" in PAGE
    assert f"{MAX_BYTES // 2**30} GiB" in PAGE


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_of_the_page_work(
    folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    if words[0] == "train":
        words = [*words, "--epochs", "1", "--device", "cpu"]
    main(words)
    runs = list(folder.glob("runs/*/report/report.html"))
    assert runs or words[0] == "data"
