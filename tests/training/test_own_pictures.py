"""Trainings on own pictures: what is said, what is stored, how it is resumed and evaluated."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from equal_runs import assert_equal_runs
from PIL import Image

import residua
from residua import UserError
from residua.cli import main
from residua.cli.train import _existing
from residua.recipes.recipe import Recipe
from residua.reports.run_data import RunData
from residua.runs.run import Run
from residua.training.loop import resume, train

Tiny = Callable[..., Recipe]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """30 pictures of three classes, of sizes of all kinds, without a split."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("cat", "dog", "füch s")):
        for i in range(10):
            path = tmp_path / "my pictures" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(80 * k, 80 * k + 60, (12 + i, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    return tmp_path / "my pictures"


def recipe(tiny: Tiny, path: Path, **changes: object) -> Recipe:
    data = {"kind": "folder", "path": str(path), "size": 16}
    return tiny(**{"data": data, "epochs": 2, "batch_size": 8, **changes})


def test_run_stores_the_absolute_path_the_files_and_what_was_decided(
    tiny: Tiny, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = residua.fit(recipe(tiny, Path("my pictures")), tmp_path / "run")
    assert run.recipe.data.path == pictures  # type: ignore[union-attr]
    assert run.data.notes[0].startswith("There is no split: 6 of 30 pictures")
    with (run.path / "files.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["split"] == "test" for row in rows) == 6
    assert {row["label"] for row in rows} == {"cat", "dog", "füch s"}
    assert all(Path(row["path"]).is_file() for row in rows)

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    evaluation = residua.evaluate(run.path)
    assert evaluation.accuracy == run.result.best.test_accuracy  # type: ignore[union-attr]
    # The table of the run is a data set with the same split.
    data = run.recipe.data.replace(path=run.path / "files.csv")
    assert residua.evaluate(run.path, data).accuracy == evaluation.accuracy
    moved = pictures.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"no folder .*my pictures"):
        residua.evaluate(run.path)
    data = run.recipe.data.replace(path=moved)
    assert residua.evaluate(run.path, data).accuracy == evaluation.accuracy


def test_changed_folder_is_not_evaluated_as_the_same_test_set(
    tiny: Tiny, pictures: Path, tmp_path: Path
) -> None:
    """The random split would be another one: training pictures would be tested on."""
    run = residua.fit(recipe(tiny, pictures), tmp_path / "run")
    for i in range(5):
        Image.new("RGB", (8, 8)).save(pictures / "cat" / f"new{i}.png")
    with pytest.raises(
        UserError, match="the test images have changed since the training: 6 then, 7"
    ):
        residua.evaluate(run.path)
    unfinished = tmp_path / "unfinished"
    list(train(recipe(tiny, pictures), unfinished, lambda progress: progress.step >= 1))
    Image.new("RGB", (8, 8)).save(pictures / "cat" / "another.png")
    with pytest.raises(UserError, match="started with other images"):
        list(resume(unfinished))


def test_resumption_on_pictures_is_exact(tiny: Tiny, pictures: Path, tmp_path: Path) -> None:
    grey = {"kind": "folder", "path": str(pictures), "size": 16, "channels": 1, "fit": "pad"}
    changes = {
        "data": grey,
        "batch_size": 8,
        "sampler": "balanced",
        "loss__class_weights": {"dog": 2.5},
        "augmentation": [
            {"kind": "crop", "padding": 2},
            {
                "kind": "color_jitter",
                "brightness": 0.2,
                "contrast": 0.2,
                "saturation": 0.2,
                "hue": 0.1,
            },
            {"kind": "rand_augment"},
            {"kind": "random_erasing", "fill": "noise", "p": 1.0},
        ],
    }
    made = tiny(**changes)
    list(train(made, tmp_path / "whole"))
    list(train(made, tmp_path / "parts", lambda progress: progress.step >= 4))
    list(resume(tmp_path / "parts"))
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("stem", [{"kind": "conv", "width": 4}, {"kind": "whitening"}])
def test_grey_pictures_have_one_channel_everywhere(
    tiny: Tiny, pictures: Path, tmp_path: Path, stem: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"kind": "folder", "path": str(pictures), "size": 16, "channels": 1}
    run = residua.fit(
        tiny(data=data, architecture__stem=stem, batch_size=8, epochs=1), tmp_path / "run"
    )
    classifier = residua.load(run.path)
    assert classifier.network.network.first_convolution.in_channels == 1
    assert len(run.data.normalization.mean) == 1  # type: ignore[union-attr]
    colored = classifier.predict(pictures / "cat" / "0.png")
    grey = classifier.predict(Image.open(pictures / "cat" / "0.png").convert("L"))
    torch.testing.assert_close(colored.probabilities, grey.probabilities)
    assert residua.evaluate(run.path).accuracy == run.result.best.test_accuracy  # type: ignore[union-attr]
    main(["report", str(run.path)])
    report = (run.report_dir / "report.html").read_text()
    assert "tiny on my pictures" in report
    assert "1×16×16" in (run.report_dir / "training-log.md").read_text()


def test_batch_that_is_too_large_is_replaced_and_said(
    tiny: Tiny, pictures: Path, tmp_path: Path
) -> None:
    made = recipe(tiny, pictures, batch_size=128, gradient_accumulation=64, epochs=1)
    run = residua.fit(made, tmp_path / "run")
    assert (run.recipe.batch_size, run.recipe.gradient_accumulation) == (4, 4)
    assert run.data.notes[1] == (
        "batch_size 128 is larger than the training set of 24 images: 4 is used instead."
    )
    assert run.log[0].steps == 6


def test_terminal_and_report_tell_a_newcomer_what_happens(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "cat" / "broken.png").write_text("no")
    words = ["train", "quickstart", "--data.kind", "folder", "--data.path", str(pictures)]
    words += ["--epochs", "1", "--dir", str(tmp_path / "run"), "--device", "cpu"]
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert "1 of 31 image files cannot be read: " in error
    assert "`--data.unreadable skip` leaves them out" in error
    assert not (tmp_path / "run").exists()

    with pytest.warns(UserWarning, match="1 of 31 image files cannot be read"):
        main([*words, "--data.unreadable", "skip"])
    out = " ".join(capsys.readouterr().out.split())
    assert "There is no split: 6 of 31 pictures" in out
    assert "batch_size 128 is larger than the training set of 24 images: 4 is used instead." in out
    assert "The test set has only 6 images: each of them is worth 16.7 points of accuracy." in out
    assert "top-5" not in out
    report = (tmp_path / "run" / "report" / "report.md").read_text()
    assert "# quickstart on my pictures" in report
    assert "Top-5" not in report
    assert "worth 16.7 points" in report
    assert "1 files cannot be read and were left out" in report
    assert json.loads((tmp_path / "run" / "data.json").read_text())["skipped"][0].endswith(
        "not an image"
    )

    with pytest.warns(UserWarning, match="cannot be read"):
        main(["evaluate", str(tmp_path / "run")])
    assert "top-5" not in capsys.readouterr().out
    cards = RunData.read(Run.open(tmp_path / "run"))
    assert cards.title == "quickstart on my pictures"


def test_single_test_picture_is_no_measurement(pictures: Path, tiny: Tiny, tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name},train" for path in pictures.rglob("*.png")]
    rows[0] = rows[0].replace(",train", ",test")
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    run = residua.fit(recipe(tiny, tmp_path / "t.csv", epochs=1), tmp_path / "run")
    (caution,) = run.data.cautions
    assert "a single image" in caution


def test_a_restarted_command_knows_its_run_of_a_relative_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run keeps the absolute path, and the batch that fits."""
    for name, color in (("cat", 200), ("dog", 40)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            image = Image.new("RGB", (16, 16), (color, number, 0))
            image.save(tmp_path / "pictures" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    words = ["--data.kind", "folder", "--data.path", "pictures", "--data.size", "16"]
    recipe = residua.resolve("quickstart", [*words, "--epochs", "1", "--precision", "auto"])
    run = residua.fit(recipe, "run")
    assert run.recipe.batch_size < recipe.batch_size
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    assert _existing(run.path, recipe) == str(run.path)
    with pytest.raises(UserError, match="another recipe"):
        _existing(run.path, recipe.replace(seed=1))
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert _existing(run.path, recipe) == ""
