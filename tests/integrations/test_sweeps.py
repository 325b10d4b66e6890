"""Sweeps: trials are ordinary runs, workers share a journal, nothing is lost when one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from residua.cli import main
from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.runs.sweep import Choice, Range, Sweep, SweepDirectory, Trial, check_sweep, parse_space
from residua.training.loop import fit

Tiny = Callable[..., Recipe]
LR = "optimizer.lr"


def small(tiny: Tiny, **changes: object) -> Recipe:
    return tiny(data__holdout=40, data__train=160, optimizer__lr=0.1, epochs=2, **changes)


def work(directory: SweepDirectory, stop: Callable[[], bool] = lambda: False) -> None:
    from residua.integrations import optuna_sweeps

    optuna_sweeps.create_study(directory)
    optuna_sweeps.work(directory, stop)


def states(directory: SweepDirectory) -> list[str]:
    from residua.integrations.optuna_sweeps import open_study

    return [trial.state.name for trial in open_study(directory).get_trials(deepcopy=False)]


def test_space_is_parsed() -> None:
    assert parse_space(["optimizer.lr=0.05,0.1", "architecture.widths=[4,8],[8,8]"]) == {
        LR: Choice(values=(0.05, 0.1)),
        "architecture.widths": Choice(values=([4, 8], [8, 8])),
    }
    assert parse_space(["optimizer.weight-decay=1e-5..1e-3:log", "epochs=2..8"]) == {
        "optimizer.weight_decay": Range(low=1e-5, high=1e-3, log=True),
        "epochs": Range(low=2, high=8, integer=True),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr"], "is not FIELD=VALUE"),
        (["=1,2"], "is not FIELD=VALUE"),
        (["epochs=1,2", "epochs=3"], "epochs is given twice"),
        (["epochs=1,1"], "a value is given twice"),
        (["optimizer.lr=0.1..0.01"], "0.1 is not below 0.01"),
        (["optimizer.lr=0..0.1:log"], "above 0"),
        (["epochs=[1"], "'epochs=[1'"),
    ],
)
def test_spaces_that_cannot_be_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_space(words)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "space", "message"),
    [
        ({"data__holdout": 0}, {LR: Choice(values=(0.1,))}, "never by the test set"),
        ({}, {"optimizer.rate": Choice(values=(0.1,))}, "optimizer.rate"),
        ({}, {LR: Choice(values=(0.1, "fast"))}, "optimizer.lr"),
        ({}, {"seed": Choice(values=(1, 2))}, "--seeds"),
    ],
)
def test_sweeps_are_checked_before_they_start(
    tiny: Tiny, changes: dict[str, object], space: dict[str, Choice], message: str
) -> None:
    recipe = small(tiny).replace(**{key.replace("__", "."): v for key, v in changes.items()})
    with pytest.raises(UserError, match=message):
        check_sweep(Sweep(recipe=recipe, space=space))


@pytest.mark.extra("optuna")
def test_trials_of_a_grid_are_the_runs_that_train_gives(tiny: Tiny, tmp_path: Path) -> None:
    sweep = Sweep(
        recipe=small(tiny),
        space={LR: Choice(values=(0.05, 0.2)), "batch_size": Choice(values=(40,))},
        seeds=2,
    )
    directory = SweepDirectory.create(tmp_path / "sweep", sweep)
    work(directory)
    trials = directory.trials()
    assert [trial.values for trial in trials] == [
        {LR: 0.05, "batch_size": 40},
        {LR: 0.2, "batch_size": 40},
    ]
    assert states(directory) == ["COMPLETE"] * 2
    recipe = small(tiny, batch_size=40, seed=1, name="tiny-0001").replace(**{LR: 0.2})
    plain = fit(recipe, tmp_path / "plain")
    run = Run.open(directory.run_path(1, 1))
    assert run.recipe == plain.recipe
    assert [record.train_loss for record in run.log] == [r.train_loss for r in plain.log]
    assert trials[1].accuracies[1] == plain.log[-1].holdout_accuracy
    best = directory.best()
    assert best is not None
    assert best.accuracy == max(trial.accuracy or 0 for trial in trials)
    path = directory.write_best()
    assert path is not None
    assert yaml.safe_load(path.read_text())["optimizer"]["lr"] == best.values[LR]


@pytest.mark.extra("optuna")
def test_a_stopped_trial_is_taken_up_and_ends_equal(tiny: Tiny, tmp_path: Path) -> None:
    sweep = Sweep(recipe=small(tiny), space={LR: Choice(values=(0.05, 0.2))})
    whole = SweepDirectory.create(tmp_path / "whole", sweep)
    work(whole)
    stopped = SweepDirectory.create(tmp_path / "stopped", sweep)
    asked = iter([False, False, False, True] + [True] * 50)
    work(stopped, lambda: next(asked))
    assert states(stopped) == ["RUNNING", "WAITING"]
    assert Run.open(stopped.run_path(0, 0)).result is None
    work(stopped)
    assert states(stopped) == ["COMPLETE", "COMPLETE"]
    assert [t.accuracies for t in stopped.trials()] == [t.accuracies for t in whole.trials()]


@pytest.mark.extra("optuna")
@pytest.mark.slow
def test_two_workers_share_trials_and_a_killed_one_loses_nothing(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Each trial is trained once; that of the worker that was killed goes on from where it was."""
    from residua.integrations.optuna_sweeps import create_study

    sweep = Sweep(recipe=small(tiny), space={LR: Choice(values=(0.01, 0.05, 0.1, 0.2))})
    whole = SweepDirectory.create(tmp_path / "whole", sweep)
    work(whole)
    shared = SweepDirectory.create(tmp_path / "shared", sweep)
    create_study(shared)
    words = [sys.executable, "-m", "residua", "sweep-worker", str(shared.path)]
    workers = [subprocess.Popen(words, stderr=subprocess.DEVNULL) for _ in range(2)]
    deadline = time.monotonic() + 100
    while not list(shared.trials_path.glob("*/seed-0/checkpoints/step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].wait()
    assert workers[1].wait(timeout=100) == 0
    work(shared)
    assert states(shared) == ["COMPLETE"] * 4
    assert [t.accuracies for t in shared.trials()] == [t.accuracies for t in whole.trials()]


@pytest.mark.extra("optuna")
def test_a_study_is_rebuilt_from_its_runs(tiny: Tiny, tmp_path: Path) -> None:
    from residua.integrations.optuna_sweeps import create_study, open_study

    space = {LR: Range(low=0.01, high=0.3, log=True), "batch_size": Choice(values=(40, 80))}
    sweep = Sweep(recipe=small(tiny), space=space, search=4)
    directory = SweepDirectory.create(tmp_path / "sweep", sweep)
    begun = iter([False] * 9)
    work(directory, lambda: next(begun, True))
    before = open_study(directory).get_trials()
    assert before[0].state.name == "COMPLETE"
    assert before[-1].state.name == "WAITING"
    directory.journal.unlink()
    create_study(directory)
    after = open_study(directory).get_trials()
    assert [t.state for t in after] == [t.state for t in before]
    assert [t.params for t in after] == [t.params for t in before]
    assert [t.intermediate_values for t in after] == [t.intermediate_values for t in before]
    assert after[0].value == before[0].value
    work(directory)
    assert states(directory) == ["COMPLETE"] * 4


@pytest.mark.extra("optuna")
def test_a_search_of_one_worker_chooses_the_same_values_again(tiny: Tiny, tmp_path: Path) -> None:
    space = {LR: Range(low=0.01, high=0.3, log=True)}
    sweep = Sweep(recipe=small(tiny), space=space, search=2)
    chosen = []
    for name in ("first", "second"):
        directory = SweepDirectory.create(tmp_path / name, sweep)
        work(directory)
        chosen.append([trial.values for trial in directory.trials()])
    assert chosen[0] == chosen[1]
    assert chosen[0][0] != chosen[0][1]


@pytest.mark.extra("optuna")
def test_trials_worse_than_the_median_are_pruned(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from residua.integrations import optuna_sweeps

    monkeypatch.setattr(optuna_sweeps, "PRUNING_STARTS_AFTER", 2)
    recipe = small(tiny).replace(epochs=4)
    space = {LR: Choice(values=(0.3, 0.2, 0.1))}

    def report(trial: object, accuracies: dict[int, float | None]) -> None:
        worse = trial.params[LR] == "0.1"  # type: ignore[attr-defined]
        trial.report(10.0 if worse else 50.0, max(accuracies))  # type: ignore[attr-defined]

    monkeypatch.setattr(optuna_sweeps, "_report", report)
    directory = SweepDirectory.create(
        tmp_path / "sweep", Sweep(recipe=recipe, space=space, prune=True)
    )
    work(directory)
    first, second, last = directory.trials()
    assert (first.state, second.state, last.state) == ("complete", "complete", "pruned")
    assert (first.epochs, last.epochs) == (4, 2)
    assert states(directory) == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert last.accuracies == (last.curve[2],)


@pytest.mark.extra("optuna")
def test_a_failing_trial_does_not_end_the_sweep(tiny: Tiny, tmp_path: Path) -> None:
    """A rate of 1e30 diverges."""
    space = {LR: Choice(values=(1e30, 0.1))}
    directory = SweepDirectory.create(tmp_path / "sweep", Sweep(recipe=small(tiny), space=space))
    work(directory)
    assert states(directory) == ["FAIL", "COMPLETE"]
    failed, complete = directory.trials()
    assert (failed.state, complete.state) == ("failed", "complete")
    assert failed.error
    assert directory.best() == complete


@pytest.mark.extra("optuna")
def test_importances_name_the_field_that_decides(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from residua.integrations.optuna_sweeps import importances

    space = {LR: Choice(values=(0.1, 0.3)), "batch_size": Choice(values=(40, 80))}
    directory = SweepDirectory.create(tmp_path / "sweep", Sweep(recipe=small(tiny), space=space))
    trials = [
        Trial(
            number=number,
            values=values,
            state="complete",
            epochs=2,
            curve={},
            accuracies=(50.0 + 100 * float(values[LR]) + values["batch_size"] / 100,),
        )
        for number, values in enumerate(list(directory.sweep.grid()) * 3)
    ]
    monkeypatch.setattr(directory, "trials", lambda: trials)
    shares = importances(directory)
    assert list(shares) == [LR, "batch_size"]
    assert shares[LR] > 2 * shares["batch_size"]
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.extra("optuna")
@pytest.mark.slow
def test_the_command_writes_page_table_and_best_recipe(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.json"
    recipe.write_text(small(tiny).model_dump_json())
    path = tmp_path / "sweep"
    words = ["sweep", str(recipe), "--grid", "optimizer.lr=0.05,0.2", "--dir", str(path)]
    main(words)
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == str(path / "sweep.html")
    assert "trial 1 (2 of 2): complete" in out
    page = (path / "sweep.html").read_text()
    assert "best.yaml" in page
    assert "Effect of each field" in page
    assert json.loads((path / "sweep.json").read_text())["space"][LR]["values"] == [0.05, 0.2]
    main(["sweep", str(path)])
    assert "Stopped" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*words[:3], "optimizer.lr=0.3", *words[4:]])
    assert "is another sweep" in capsys.readouterr().err


@pytest.mark.extra("submitit")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_workers_run_as_jobs(tiny: Tiny, tmp_path: Path) -> None:
    """With submitit's local executor, which runs jobs as processes as Slurm would."""
    recipe = tmp_path / "mine.json"
    recipe.write_text(small(tiny).model_dump_json())
    path = tmp_path / "sweep"
    main(
        [
            "sweep",
            str(recipe),
            "--grid",
            "optimizer.lr=0.05,0.2",
            "--dir",
            str(path),
            "--cluster",
            "local",
            "--workers",
            "2",
            "--cluster-options",
            "{timeout_min: 5}",
        ]
    )
    assert [trial.state for trial in SweepDirectory.open(path).trials()] == ["complete"] * 2
    assert list((path / "jobs").glob("*_submitted.pkl"))


@pytest.mark.extra("optuna")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["quickstart"], "there is nothing to try"),
        (["quickstart", "--grid", "optimizer.lr=0.1,0.2"], "never by the test set"),
        (["nothing", "--grid", "optimizer.lr=0.1"], "no recipe"),
        (
            ["quickstart", "--data.holdout", "500", "--grid", "optimizer.lr=0.1..0.2"],
            "needs a search",
        ),
        (["quickstart", "--data.holdout", "500", "--grid", "lr=0.1"], "lr"),
        (["quickstart", "--grid", "optimizer.lr=0.1", "--seeds", "0"], "seeds"),
    ],
)
def test_mistakes_get_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        main(["sweep", *words])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
