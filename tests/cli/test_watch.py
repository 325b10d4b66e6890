"""`residua runs` and `residua watch`; progress.json and results.csv."""

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from residua.cli import main
from residua.cli.progress_file import ProgressFile
from residua.cli.watch_view import sparkline, view
from residua.recipes.recipe import Recipe
from residua.runs.progress import RunProgress
from residua.runs.run import Run
from residua.training.events import observe
from residua.training.loop import resume, train

Tiny = Callable[..., Recipe]


@pytest.fixture
def stopped(tiny: Tiny, tmp_path: Path) -> Run:
    """A run that was stopped after its first epoch and two steps."""
    path = tmp_path / "runs/stopped"
    events = train(tiny(), path, lambda progress: progress.step >= 6)
    for _ in observe(events, ProgressFile()):
        pass
    return Run.open(path)


def shown(runs: list[Run], width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(view(runs, width))
    return console.export_text()


def test_progress_of_a_stopped_training_and_its_end(stopped: Run) -> None:
    progress = stopped.progress
    assert progress is not None
    assert (progress.step, progress.steps_per_epoch, progress.epochs) == (6, 4, 3)
    assert progress.fraction == 0.5
    assert stopped.state == "stopped"
    for _ in observe(resume(stopped.path), ProgressFile()):
        pass
    assert stopped.state == "finished"
    assert not (stopped.path / "progress.json").exists()


def test_a_training_that_is_not_heard_of_counts_as_interrupted(stopped: Run) -> None:
    progress = stopped.progress
    assert progress is not None
    for activity, age, state in (
        ("training", 5, "training"),
        ("evaluating", 5, "evaluating"),
        ("training", 600, "interrupted"),
        ("stopped", 600, "stopped"),
        ("training", -600, "training"),
    ):
        old = progress.replace(activity=activity, updated=time.time() - age)
        stopped.write_json("progress.json", old)
        assert stopped.state == state
    (stopped.path / "progress.json").write_text("{")
    assert stopped.state == "interrupted"


def test_evaluations_keep_the_progress_alive(tiny: Tiny, tmp_path: Path) -> None:
    observer, seen = ProgressFile(), []
    observer._is_due = lambda: True  # type: ignore[method-assign]
    path = tmp_path / "run"

    def should_stop(progress: object) -> bool:
        observer.check_evaluation(progress.step)  # type: ignore[attr-defined]
        file = path / "progress.json"
        if file.exists():
            seen.append(RunProgress.model_validate_json(file.read_text()).activity)
        return False

    for _ in observe(train(tiny(epochs=1), path, should_stop), observer):
        pass
    assert "evaluating" in seen
    assert "training" in seen


def test_results_csv_has_the_log(stopped: Run) -> None:
    for _ in resume(stopped.path):
        pass
    with (stopped.path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    log = stopped.log
    assert len(rows) == len(log) == 3
    for row, record in zip(rows, log, strict=True):
        assert int(row["epoch"]) == record.epoch
        assert float(row["train_loss"]) == record.train_loss
        assert float(row["test_accuracy"]) == record.test_accuracy
        assert row["holdout_accuracy"] == ""


def test_runs_are_listed_as_a_table_and_as_json(
    stopped: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = stopped.path.parent
    damaged = directory / "sub/damaged"
    damaged.mkdir(parents=True)
    (damaged / "recipe.json").write_text("{")
    main(["runs", str(directory)])
    out = capsys.readouterr().out
    assert "stopped" in out
    assert "1/3" in out
    assert "damaged: " in out
    main(["runs", str(directory), "--json"])
    listed = {Path(run["path"]).name: run for run in json.loads(capsys.readouterr().out)}
    assert listed["damaged"]["state"] == "damaged"
    run, first = listed["stopped"], stopped.log[0]
    assert (run["recipe"], run["epoch"], run["epochs"]) == ("tiny", 1, 3)
    assert run["last_accuracy"] == run["best_accuracy"] == first.test_accuracy


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs", "nowhere"], "nowhere is not a directory"),
        (["runs", "."], "there is no run in ."),
        (["watch", "nowhere"], "nowhere is not a run"),
        (["watch"], "runs is not a directory"),
    ],
)
def test_without_runs_there_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        main(words)
    assert error.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_watch_shows_runs_in_80_columns_and_beside_each_other(stopped: Run) -> None:
    text = shown([stopped])
    assert "tiny, seed 0: stopped, 1 of 3 epochs" in text
    assert "step 6 of 12" in text
    for label in ("training loss", "test accuracy", "learning rate", "gradient norm"):
        assert label in text
    assert max(map(len, text.splitlines())) <= 80
    beside = shown([stopped, stopped], 160)
    assert any(line.count("seed 0: stopped") == 2 for line in beside.splitlines())
    narrow = shown([stopped], 40)
    assert max(map(len, narrow.splitlines())) <= 40


def test_watch_of_a_damaged_log_shows_what_is_wrong(stopped: Run) -> None:
    log = stopped.path / "log.jsonl"
    log.write_text("{}\n" + log.read_text())
    assert "is damaged" in shown([stopped])


def test_watch_prints_once_where_there_is_no_terminal(
    stopped: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["watch", str(stopped.path)])
    assert "stopped" in capsys.readouterr().out


def test_sparklines_average_values_and_span_the_levels() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0, 5.0], 8) == "▁▁"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert len(sparkline(list(range(1000)), 40)) == 40
