"""docs/use.md: its code runs, its figures are those that were measured, its way is two commands."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from residua.cli import main
from residua.data.shapes import generate
from residua.inference.sources import PRETRAINED

PAGE = (Path(__file__).parents[1] / "docs" / "use.md").read_text(encoding="utf-8")
PYTHON, SCRIPT = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_figures_of_the_pretrained_network_are_those_measured() -> None:
    record = json.loads((PRETRAINED / "pocket.json").read_text())
    for tta, measured in record["measured"].items():
        shipped = measured["shipped"]
        (row,) = re.findall(rf"^\| `{tta}`.*$", PAGE, re.MULTILINE)
        assert f"| {shipped['accuracy']:.2f} % | {shipped['top5']:.2f} % |" in row
        assert (shipped, measured["same_class"]) == (measured["run"], shipped["images"])
    assert f"{record['bytes'] / 1e6:.1f} MB" in PAGE
    assert record["bytes"] == (PRETRAINED / "pocket.safetensors").stat().st_size


def test_the_python_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (50, 40), "red").save("picture.png")
    exec(compile(PYTHON, "docs/use.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[4] == "16"
    assert lines[-1] == "none.png No such file or directory"


@pytest.mark.extra("onnxruntime", "onnx", "onnxscript")
def test_a_folder_of_pictures_becomes_answers_and_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """120 pictures of three classes; a table of answers and an .onnx file are a command each."""
    monkeypatch.chdir(tmp_path)
    split = generate(4200, stream=1)
    for label in range(3):
        chosen = (split.labels == 5 * label).nonzero().flatten()[:40].tolist()
        for number, index in enumerate(chosen):
            folder = Path("pictures", "train" if number < 30 else "test", f"class {label}")
            folder.mkdir(parents=True, exist_ok=True)
            pixels = split.images[index].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).resize((48, 40)).save(folder / f"{number}.png")
    small = ["--architecture.widths", "[8, 8, 16]", "--architecture.stem.width", "8"]
    data = ["--data", "{kind: folder, path: pictures}", "--batch-size", "16", "--epochs", "2"]
    main(["train", "quickstart", *data, *small, "--device", "cpu", "--dir", "runs/pictures"])

    main(["predict", "runs/pictures", "pictures/test", "--csv", "answers.csv"])
    main(["export", "runs/pictures", "--to", "onnx"])

    with Path("answers.csv").open(newline="") as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == 30
    assert list(answers[0])[-2:] == ["probability_3", "error"]
    assert len([line for line in SCRIPT.splitlines() if line]) == 10
    Path("script.py").write_text(SCRIPT)
    paths = [answer["path"] for answer in answers]
    done = subprocess.run(
        [sys.executable, "script.py", "quickstart.onnx", *paths],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for line, answer in zip(done.stdout.splitlines(), answers, strict=True):
        start, probability = line.rsplit(" ", 1)
        assert start == f"{answer['path']} {answer['class']}"
        assert float(probability) == pytest.approx(float(answer["probability"]), abs=2e-4)
