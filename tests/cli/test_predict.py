"""`residua predict` and `residua export`: what they print and write, and bad input."""

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from residua import load
from residua.cli import main
from residua.runs.run import Run


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight pictures with strange names in a tree, and three files that are none."""
    folder = tmp_path / "pictures"
    (folder / "more" / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    random = np.random.default_rng(0)
    names = [b"a.png", b"b c.jpg", "ü.png".encode(), b"n\nl.png", b"=1.png", b"x\xff.png"]
    names += [b"more/d.webp", b"more/below/-e.bmp", b".hidden/f.png"]
    for name in names:
        pixels = random.integers(0, 256, (40, 33, 3), dtype=np.uint8)
        with Path(folder, os.fsdecode(name)).open("wb") as file:
            suffix = os.fsdecode(name).rpartition(".")[2]
            Image.fromarray(pixels).save(file, format="jpeg" if suffix == "jpg" else suffix)
    (folder / "broken.png").write_text("broken")
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    return folder


def status(*words: str) -> Any:
    """The exit status of a command."""
    try:
        main(list(words))
    except SystemExit as stopped:
        return stopped.code
    return 0


def test_a_picture_gets_a_table_of_its_classes(small_run: Run, pictures: Path, capsys: Any) -> None:
    main(["predict", str(small_run.path), "pictures/a.png", "--top", "3"])
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "pictures/a.png"
    expected = load(small_run).predict("pictures/a.png").top(3)[0]
    assert [line.split("%")[1].strip() for line in lines] == [name for name, _ in expected]
    assert lines[0] == f"  {100 * expected[0][1]:6.2f} %  {expected[0][0]}"


def test_a_folder_gets_a_line_a_picture_and_broken_ones_are_named(
    small_run: Run, pictures: Path, capsys: Any
) -> None:
    assert status("predict", str(small_run.path), "pictures", "--top", "1") == 1
    captured = capsys.readouterr()
    header, *lines = captured.out.splitlines()
    assert header.split() == ["picture", "class"]
    assert len(lines) == 8
    assert lines[0].startswith("pictures/=1.png ")
    assert any(line.startswith("pictures/n l.png ") for line in lines)
    assert captured.err.splitlines() == [
        "residua: pictures/broken.png: not an image",
        "residua: pictures/empty.jpg: the file is empty",
        "residua: 2 of 10 pictures cannot be read",
    ]


def test_csv_has_each_picture_with_the_bytes_of_its_name(
    small_run: Run, pictures: Path, capsys: Any
) -> None:
    words = ["predict", str(small_run.path), "pictures", "--csv", "answers.csv", "--top", "2"]
    assert status(*words) == 1
    assert "answers.csv: the answers for 8 of 10 pictures" in capsys.readouterr().out
    content = Path("answers.csv").read_bytes()
    assert b"pictures/x\xff.png," in content
    rows = list(csv.DictReader(io.StringIO(content.decode(errors="surrogateescape"), newline="")))
    columns = ["path", "class", "probability", "class_2", "probability_2", "error"]
    assert list(rows[0]) == columns
    answers = {row["path"]: row for row in rows}
    assert answers["pictures/n\nl.png"]["error"] == ""
    assert answers["pictures/broken.png"]["error"] == "not an image"
    expected = load(small_run).predict([path for path, row in answers.items() if not row["error"]])
    given = [row["class"] for row in rows if not row["error"]]
    assert given == expected.labels
    assert float(answers["pictures/a.png"]["probability"]) <= 1
    assert not list(pictures.parent.glob(".*partial"))


def test_json_is_an_object_a_line(small_run: Run, pictures: Path, capsys: Any) -> None:
    assert status("predict", str(small_run.path), "pictures", "--json", "--top", "500") == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 10
    # Never more than there are classes.
    assert {len(line["classes"]) for line in lines if "classes" in line} == {100}
    assert [line["path"] for line in lines if "error" in line] == [
        "pictures/broken.png",
        "pictures/empty.jpg",
    ]


@pytest.mark.parametrize("separator", [b"\n", b"\0"], ids=["lines", "NUL"])
def test_paths_come_from_standard_input(
    small_run: Run, pictures: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, separator: bytes
) -> None:
    paths = [b"pictures/x\xff.png", b"pictures/more", b"pictures/b c.jpg"]
    stdin = io.TextIOWrapper(io.BytesIO(separator.join(paths) + separator))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert status("predict", str(small_run.path), "-", "--json") == 0
    lines = [json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "pictures/x\udcff.png",
        "pictures/more/d.webp",
        "pictures/more/below/-e.bmp",
        "pictures/b c.jpg",
    ]


def test_patterns_in_quotes_are_files(small_run: Run, pictures: Path, capsys: Any) -> None:
    assert status("predict", str(small_run.path), "pictures/**/*.bmp", "--csv", "-") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("pictures/more/below/-e.bmp,")


def test_wrong_words_are_one_line(
    small_run: Run, pictures: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = str(small_run.path)
    Path("folder").mkdir()
    monkeypatch.setattr("residua.inference.images.MAX_PIXELS", 1000)
    Path("damaged.safetensors").write_bytes(b"damaged")
    messages = {
        ("predict", run): "no pictures",
        ("predict", "poket", "pictures"): "did you mean pocket?",
        ("predict", run, "folder"): "folder has no images",
        ("predict", run, "*.tif"): "no file matches *.tif",
        ("predict", run, "none.png"): "none.png: No such file or directory",
        ("predict", run, "pictures/a.png"): "33 x 40 pixels are too many; the limit is 1,000",
        ("predict", run, "pictures/a.png", "--top", "0"): "--top",
        ("predict", run, "pictures/a.png", "--tpo", "3"): "unknown option --tpo",
        ("predict", run, "pictures/a.png", "--csv", "folder"): "it is a folder",
        ("predict", run, "pictures/a.png", "--csv", "no/a.csv"): "--csv no/a.csv: No such file",
        ("predict", run, "pictures/a.png", "--csv", "a.csv", "--json"): "choose one",
        ("predict", run, "pictures/a.png", "--device", "tpu"): "tpu",
        ("predict", "damaged.safetensors", "pictures"): "damaged.safetensors is damaged",
        ("export", run, "--to", "onnx", "--output", "a.pt2"): "ends in .onnx",
        ("export", run, "--to", "torch", "--output", "no/a.pt2"): "there is no folder no",
        ("export", run, "--to", "torch", "--int8"): "--int8 needs --to onnx",
        ("export", run, "--to", "torch", "--weights", "float16"): "--weights needs",
        ("export", run, "--to", "safetensors", "--tta", "none"): "--tta needs",
        ("export", run, "--to", "safetensors", "--output", f"{run}/model.safetensors"): "a run",
        ("export", "poket", "--to", "safetensors"): "did you mean pocket?",
    }
    for words, message in messages.items():
        assert status(*words) == 2, words
        captured = capsys.readouterr()
        assert message in captured.err, words
        assert captured.err.count("\n") == 1, words
    names = {"pictures", "folder", "damaged.safetensors"}
    assert {path.name for path in Path().iterdir()} == names


def test_without_the_extra_there_is_one_line(
    small_run: Run, pictures: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "residua.integrations.onnx_files", raising=False)
    assert status("export", str(small_run.path), "--to", "onnx") == 2
    assert "pip install 'residua[onnx]'" in capsys.readouterr().err
    Path("network.onnx").touch()
    assert status("predict", "network.onnx", "pictures") == 2
    assert "pip install 'residua[onnx]'" in capsys.readouterr().err


def test_export_says_what_it_compared(small_run: Run, pictures: Path, capsys: Any) -> None:
    assert status("export", str(small_run.path), "--to", "safetensors") == 0
    compared, written = capsys.readouterr().out.splitlines()
    assert "106 images (test set)" in compared
    assert "largest difference of a probability 0.0e+00, the same class for 106 of 106" in compared
    assert written.startswith("quickstart.safetensors: ")
    assert status("predict", "quickstart.safetensors", "pictures/a.png") == 0


def test_the_pretrained_network_answers(pictures: Path, capsys: Any) -> None:
    main(["predict", "pocket", "pictures/a.png", "--top", "2", "--device", "cpu"])
    assert len(capsys.readouterr().out.splitlines()) == 3
