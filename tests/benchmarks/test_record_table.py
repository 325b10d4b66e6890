"""The README's table of recipes and list of remaining trainings, from records/."""

import json
import re
import statistics
from pathlib import Path

import pytest
import records

from residua.recipes.built_in import built_in
from residua.reports import published
from residua.reports.comparison import compare_runs
from residua.reports.kit.formatting import mean_std
from residua.runs.run import Run

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of records."""
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records")
    return tmp_path / "records"


def make_record(
    folder: Path, name: str, epochs: int, finished: bool, planned: int = 70, **data: int
) -> None:
    """Write a record of a published system with some finished epochs."""
    run = folder / f"2026-01-01-{name}"
    run.mkdir(parents=True)
    changes = {f"data.{key}": value for key, value in data.items()}
    recipe = built_in(name).replace(epochs=planned, batch_size=256, tta="none", **changes)
    (run / "recipe.json").write_text(recipe.model_dump_json())
    (run / "environment.json").write_text('{"device": "cpu", "processor": "P", "threads": 2}')
    log = [
        {
            "epoch": epoch, "step": epoch, "train_loss": 1.0, "train_accuracy": 10.0, "lr": 0.1,
            "grad_norm": 1.0, "test_loss": 1.0, "test_accuracy": 10.0 * epoch, "test_top5": 90.0,
            "seconds": 100.0, "images_per_second": 500.0, "test_images": 10000,
            "evaluation_seconds": 8.0,
        }
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip
    (run / "log.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in log))
    if finished:
        figures = {"epoch": epochs, "test_loss": 1.0, "test_accuracy": 10.0 * epochs}
        figures |= {"test_top5": 90.0}
        result = {"epochs": epochs, "epochs_planned": planned, "selection_split": "test"}
        (run / "result.json").write_text(json.dumps(result | {"last": figures, "best": figures}))


def row(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_an_unfinished_run_is_compared_with_the_published_epoch(folder: Path) -> None:
    make_record(folder, "resnet26w", 3, finished=False)
    cells = row(records.recipe_table(), "resnet26w")
    curve = published.reference("resnet26w").curve
    assert curve is not None
    expected = f"30.00 (epoch 3; published: {curve.points[2].test_accuracy:.2f})"
    assert cells[2:6] == [expected, "–", "1", "3 of 70"]
    assert cells[6:9] == ["300", "500", "P, 2 threads"]
    # 70 epochs of 50,000 images at 500/s and of 10,000 test images at 1,250/s
    assert "resnet26w`: 70 epochs, about 2 hours on P, 2 threads, at 500 images/s" in (
        records.remaining()
    )


def test_a_finished_training_is_not_remaining(folder: Path) -> None:
    assert "resnet26w" in records.remaining()
    make_record(folder, "resnet26w", 4, finished=True)
    assert "resnet26w" not in records.remaining()
    assert row(records.recipe_table(), "resnet26w")[2:4] == ["40.00", "40.00"]


def test_a_training_with_fewer_epochs_is_remaining(folder: Path) -> None:
    make_record(folder, "resnet26w", 4, finished=True, planned=4)
    assert "resnet26w`: 70 epochs, about 2 hours" in records.remaining()


@pytest.mark.parametrize("data", [{"limit": 800}, {"holdout": 5000}])
def test_a_part_of_the_images_only_counts_for_speed(folder: Path, data: dict[str, int]) -> None:
    make_record(folder, "resnet26w", 4, finished=True, **data)
    assert row(records.recipe_table(), "resnet26w")[2:] == ["–"] * 8
    assert "at 500 images/s" in records.remaining()


def test_the_readme_contains_table_and_list() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert records.recipe_table() in readme
    assert records.remaining() in readme


@pytest.mark.parametrize("record", ["2026-11-21-pocket", "2026-11-21-sprint"])
def test_a_run_has_the_same_figures_everywhere(record: str) -> None:
    """In the README, in `residua compare`, in the report and in result.json."""
    paths = sorted((ROOT / "records" / record).glob("seed-*"))
    runs = [Run.open(path) for path in paths]
    in_readme = row((ROOT / "README.md").read_text(encoding="utf-8"), runs[0].recipe.name)
    ((_, n, *accuracies, seconds, speed),) = compare_runs(runs).results.rows
    rounded = mean_std([sum(record.seconds for record in run.log) for run in runs], 0)
    assert seconds == mean_std([run.result.train_seconds for run in runs if run.result], 1)
    assert [cell.partition(" (tta")[0] for cell in in_readme[2:5]] == [
        accuracies[0],
        accuracies[-1],
        n,
    ]
    assert in_readme[6:8] == [rounded, speed]
    speeds = []
    for run in runs:
        report = (run.report_dir / "report.md").read_text(encoding="utf-8")
        (shown,) = re.findall(r"^\| Speed \| ([\d,]+) images/s", report, re.MULTILINE)
        speeds.append(float(shown.replace(",", "")))
        assert run.result is not None
        for accuracy in (run.result.last.test_accuracy, run.result.best.test_accuracy):
            assert f"{accuracy:.2f} %" in report
    assert statistics.mean(speeds) == pytest.approx(float(speed.partition(" ")[0]), abs=1)
