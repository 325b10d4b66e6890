"""`residua evaluate`: what it prints, stores and refuses."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from cyclopts import App
from PIL import Image

import residua
from residua import fit
from residua.cli import main
from residua.cli.app import app
from residua.cli.evaluate import OPTIONS
from residua.data.shapes import Shapes100
from residua.runs.evaluations import load_corruptions, load_evaluations, load_outputs
from residua.runs.run import Run

OVERRIDES = [
    "--epochs", "1", "--data.train", "300", "--data.test", "120", "--device", "cpu",
    "--architecture.widths", "[4, 4, 8]", "--architecture.stem.width", "4",
]  # fmt: skip


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs of two seeds; the second has a holdout."""
    folder = tmp_path_factory.mktemp("runs")
    more = [[], ["--seed", "1", "--data.holdout", "100", "--tta", "mirror"]]
    runs = []
    for index, words in enumerate(more):
        recipe = residua.resolve("quickstart", [*OVERRIDES, *words])
        runs.append(fit(recipe, folder / f"seed{index}").path)
    return runs


@pytest.fixture
def run(seeds: list[Path], tmp_path: Path) -> Path:
    return shutil.copytree(seeds[0], tmp_path / "run")


@pytest.fixture
def held_out(seeds: list[Path], tmp_path: Path) -> Path:
    return shutil.copytree(seeds[1], tmp_path / "held-out")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of two of the classes, larger than the network's."""
    split = Shapes100(train=1, test=200).load(0).test
    for index, label in enumerate(split.labels.tolist()):
        if label < 2:
            target = tmp_path / "own pictures" / split.classes[label]
            target.mkdir(parents=True, exist_ok=True)
            pixels = split.images[index].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).resize((48, 40)).save(target / f"{index}.png")
    return tmp_path / "own pictures"


def out(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    main(["evaluate", *map(str, words)])
    return capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", *map(str, words)])
    message = capsys.readouterr().err
    assert exit_.value.code == 2
    assert message.count("\n") == 1
    return message


def test_figures_are_printed_and_stored(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = out(capsys, run, "--csv", tmp_path / "answers.csv")
    (record,) = load_evaluations(Run.open(run))
    assert f"Accuracy                          {record.single.accuracy:.2f} %" in text
    assert "Single views" in text
    assert "TTA" not in text
    assert text.splitlines()[-2:] == [
        str(run / "evaluations/test.json"), str(tmp_path / "answers.csv"),
    ]  # fmt: skip
    result = Run.open(run).result
    assert result is not None
    assert record.single.accuracy == result.best.test_accuracy
    assert record.single.loss == result.best.test_loss
    assert load_outputs(Run.open(run), "test") is not None
    rows = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    correct = sum(int(row["correct"]) for row in rows)
    assert 100 * correct / len(rows) == record.single.accuracy
    per_class = out(capsys, run, "--per-class")
    assert len(per_class.splitlines()) > len(text.splitlines()) + 50


def test_json_is_all_of_standard_output(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = json.loads(out(capsys, run, "--json", "--corruptions", "contrast"))
    (evaluation,) = tree["evaluations"]
    assert evaluation["views"]["none"]["images"] == 120
    assert len(evaluation["views"]["none"]["classes"]) == 100
    assert list(tree["corruptions"]["accuracies"]) == ["contrast"]
    assert tree["corruptions"]["mean_corruption_error"] > 0


def test_holdout_calibrates_and_tta_has_its_own_column(
    held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = out(capsys, held_out)
    assert "TTA mirror" in text
    assert "Temperature, of the holdout" in text
    (record,) = load_evaluations(Run.open(held_out))
    assert set(record.views) == {"none", "mirror"}
    temperature = record.single.calibrated
    assert temperature is not None
    # Another test set is calibrated by what was fitted on the holdout.
    out(capsys, held_out, "--data", folder)
    other, _ = load_evaluations(Run.open(held_out))
    assert other.name == "folder-own-pictures"
    assert other.single.calibrated is not None
    assert other.single.calibrated.temperature == temperature.temperature
    assert sum(row.images > 0 for row in other.single.classes) == 2
    out(capsys, held_out, "--split", "holdout")
    assert [r.name for r in load_evaluations(Run.open(held_out))] == [
        "folder-own-pictures", "holdout", "test",
    ]  # fmt: skip


def test_parts_and_modes_have_names_of_their_own(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, run, "--data.limit", "50")
    text = out(capsys, run, "--mode", "train", "--batch-size", "60", "--checkpoint", "last")
    assert "training mode (batch statistics of 60, dropout active)" in text.replace("\n", " ")
    out(capsys, run, "--name", "mine")
    records = load_evaluations(Run.open(run))
    assert [record.name for record in records] == ["mine", "test-50", "test-last-train-mode"]
    assert records[2].mode == "train"
    main(["report", str(run)])
    page = (run / "report/report.html").read_text()
    for text in ("training mode (batch statistics of 60", "mine: test, 120 images", "All classes"):
        assert text in page


def test_ensemble(
    run: Path, seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = shutil.copytree(seeds[1], tmp_path / "second")
    text = out(capsys, run, second)
    assert "Ensemble: the mean probabilities of 2 networks, single views" in text
    assert "Together so far" in text.replace("\n", " ")
    tree = json.loads(out(capsys, run, second, "--json"))
    assert len(tree["contributions"]) == 2
    ensemble = tree["ensemble"]["accuracy"]
    assert tree["contributions"][1]["cumulative"] == ensemble
    assert tree["contributions"][0]["without"] == tree["contributions"][1]["alone"]
    assert "other images" in fails(capsys, run, second, "--split", "train")


def test_corruptions_are_shown_and_set_in_relation(
    run: Path, seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = shutil.copytree(seeds[1], tmp_path / "reference")
    assert "no figures on corruptions" in fails(
        capsys, run, "--corruptions", "fog", "--reference", reference
    )
    out(capsys, reference, "--corruptions", "fog", "contrast")
    text = out(capsys, run, "--corruptions", "contrast", "fog", "--reference", reference)
    assert "Mean corruption error" in text
    assert f"Relative to {reference}" in text.replace("\n", "")
    assert "other kinds" in fails(capsys, run, "--corruptions", "fog", "--reference", reference)
    out(capsys, run, "--corruptions", "pixelate")
    record = load_corruptions(Run.open(run))
    assert record is not None
    assert sorted(record.accuracies) == ["contrast", "fog", "pixelate"]
    main(["report", str(run)])
    page = (run / "report/report.html").read_text()
    assert "The mean corruption error is" in page
    assert "Frost" not in page


def test_model_files_without_a_run_are_evaluated_and_nothing_is_stored(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in run.glob("model.*"):
        shutil.copy(path, model)
    assert "Accuracy" in out(capsys, model)
    assert len(list(model.iterdir())) == 2


def test_mistakes_are_one_line_and_nothing_is_stored(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        ([tmp_path / "none"], "has no model"),
        ([run, "--split", "holdout"], "there is no holdout"),
        ([run, "--corruptions", "fogg"], "did you mean fog?"),
        ([run, "--chekpoint", "last"], "did you mean --checkpoint"),
        ([run, "--data.holdout", "50"], "the holdout is that of the training"),
        ([run, "--data.limitt", "50"], "limit"),
        ([run, "--data", folder, "--split", "test"], "leave out --split"),
        ([run, "--data", tmp_path / "none"], "no folder"),
        ([run, "--batch-size", "3"], "use it with --mode train"),
        ([run, "--reference", run], "--reference is for --corruptions"),
        ([run, "--name", "../up"], "--name"),
        ([run, "--csv", tmp_path / "none/answers.csv"], "not a file in an existing folder"),
        ([run, run, "--csv", tmp_path / "answers.csv"], "for a single network"),
        ([run, "--corruptions", "--mode", "train"], "--mode eval"),
    ):
        assert message in fails(capsys, *words), words
    (folder / "something").mkdir()
    shutil.copy(next(folder.glob("*/*.png")), folder / "something")
    assert "the network does not know: something" in fails(capsys, run, "--data", folder)
    assert not (run / "evaluations").exists()


def test_changed_test_set_is_a_warning(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads((run / "data.json").read_text())
    data["splits"]["test"]["sha256"] = "0" * 64
    (run / "data.json").write_text(json.dumps(data))
    with pytest.warns(UserWarning, match="the test set is another one"):
        out(capsys, run)


def test_every_option_is_known() -> None:
    command = app["evaluate"]
    assert isinstance(command, App)
    arguments = command.assemble_argument_collection()
    names = {name for argument in arguments for name in argument.names if name.startswith("--")}
    assert names == set(OPTIONS)
