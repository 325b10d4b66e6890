"""What the terminal shows during a training and at its end."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from residua.cli import console as console_module
from residua.cli.console import (
    ProgressDisplay,
    SpeedColumn,
    epoch_lines,
    reading_progress,
    show,
    show_result,
)
from residua.data.progress import report_progress
from residua.recipes.recipe import Recipe
from residua.reports.kit.tables import Table as KitTable
from residua.reports.kit.tables import terminal_table
from residua.runs.records import (
    DataFingerprint,
    EpochRecord,
    FinalFigures,
    Result,
    SplitFingerprint,
)
from residua.runs.run import Run
from residua.training.events import Event, Finished, RolledBack, Started, StepFinished, Stopped
from residua.training.loop import train

RECORD = EpochRecord(
    epoch=99,
    step=99 * 391,
    steps=391,
    lr=4e-7,
    grad_norm=1.0,
    images_per_second=568.4,
    last_loss=1.8318,
    train_loss=1.5,
    train_accuracy=77.8,
    seconds=88.3,
    test_loss=1.3779,
    test_accuracy=80.87,
    test_top5=95.0,
    test_images=10_000,
)


def test_epoch_is_printed_in_the_form_of_the_published_logs() -> None:
    changes = {"target_reached": True, "gradient_warning": "vanished"}
    record = EpochRecord.model_validate(dict(RECORD) | changes)
    assert epoch_lines(record, 100, best=True).splitlines() == [
        "[bold]EPOCH: 99/100[/]  lr 4e-07  568 images/s",
        "Loss=1.8318 Batch_id=390 Accuracy=77.80: 100%|██████████| 391/391 [01:28<00:00, 4.43it/s]",
        "Test set: Average loss: 1.3779, Accuracy: 8087/10000 (80.87%) "
        "[green]✓ Target Reached![/] [green]✓ Best Model![/]",
        "[yellow]vanished[/]",
    ]
    assert len(epoch_lines(RECORD, 100, best=False).splitlines()) == 3


@pytest.mark.parametrize(("speed", "text"), [(4.43, "4.43it/s"), (0.4, "2.50s/it"), (None, "")])
def test_bar_shows_steps_per_second(speed: float | None, text: str) -> None:
    task: Any = SimpleNamespace(speed=speed)
    assert SpeedColumn().render(task).plain == text


@pytest.mark.parametrize(("stop", "position"), [(6, "2 of 4"), (4, None)])
def test_stop_inside_an_epoch_prints_its_mean_loss(
    stop: int,
    position: str | None,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    losses = []

    def recorded() -> Iterator[Event]:
        for event in train(tiny(), tmp_path / "run", lambda progress: progress.step >= stop):
            if isinstance(event, StepFinished) and event.step > 4:
                losses.append(event.metrics.last_loss)
            yield event

    assert show(recorded()) == Stopped(stop)
    out = capsys.readouterr().out.replace("\n", " ")
    if position is None:
        assert "Inside epoch" not in out
    else:
        mean = sum(losses) / len(losses)
        assert f"Inside epoch 2, after {position} batches: mean loss {mean:.4f}, accuracy" in out


def test_failing_observer_is_reported_once_and_the_training_finishes(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing(event: Event) -> None:
        calls.append(event)
        raise ZeroDivisionError("an observer's mistake")

    def broken_display(display: ProgressDisplay, event: Event) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(ProgressDisplay, "__call__", broken_display)
    with pytest.warns(UserWarning, match="failed and is switched off") as warnings:
        end = show(train(tiny(epochs=1), tmp_path / "run"), failing)
    assert isinstance(end, Finished)
    assert len(calls) == 1
    messages = [str(each.message) for each in warnings]
    assert sum("ZeroDivisionError: an observer's mistake" in each for each in messages) == 1
    assert sum("ProgressDisplay failed" in each for each in messages) == 1
    assert len(messages) == 2


def test_roll_back_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressDisplay()(RolledBack("the loss is not finite in epoch 3", 1200, 0.5))
    out = " ".join(capsys.readouterr().out.split())
    assert "not finite in epoch 3: rolled back to step 1,200, learning rates x 0.5" in out


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "The best epoch was selected on the test set itself: its accuracy is optimistic."),
        ({"evaluations": 1}, "The test set was evaluated once, at the end."),
        ({"target_accuracy": 60.0, "target_epoch": 2}, "Target 60 %: reached in epoch 2."),
        ({"target_accuracy": 90.5}, "Target 90.5 %: not reached."),
        ({"tta": "mirror"}, "Logits are averaged over"),
    ],
)
def test_result_says_how_the_best_epoch_was_selected(
    changes: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last = FinalFigures(epoch=3, test_loss=1.0, test_accuracy=61.25, test_top5=88.0)
    best = FinalFigures(epoch=2, test_loss=1.1, test_accuracy=63.5, test_top5=89.0)
    fields = {"epochs": 3, "epochs_planned": 3, "selection_split": "test", "evaluations": 3}
    show_result(Result(**fields | {"last": last, "best": best} | changes), Path("run"))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "last epoch 3 61.25 % 88.00 % 1.0000" in lines
    assert "best epoch 2 63.50 % 89.00 % 1.1000" in lines
    assert any(text in line for line in lines)


def test_result_with_a_holdout_says_that_the_test_set_was_not_evaluated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    last = FinalFigures(epoch=3, holdout_loss=1.0, holdout_accuracy=61.25, holdout_top5=88.0)
    fields = {"epochs": 3, "epochs_planned": 3, "selection_split": "holdout", "evaluations": 3}
    arithmetic = {"flops": 9e11, "train_seconds": 30.0}
    show_result(Result(**fields | {"last": last, "best": last} | arithmetic), Path("my run"))
    out = capsys.readouterr().out
    assert "holdout accuracy" in out
    assert "test accuracy" not in out
    assert "The best epoch was selected on the holdout." in out
    assert "The test set was not evaluated. To do it: residua evaluate 'my run'" in out
    assert "Training computed 900 GFLOP in 30.0 s: 30 GFLOP/s." in out


def test_epoch_lines_have_the_sustained_arithmetic() -> None:
    record = RECORD.replace(flops=3e12, seconds=20.0)
    assert epoch_lines(record, 9, False).splitlines()[0].endswith(" images/s  150 GFLOP/s")
    assert "FLOP" not in epoch_lines(RECORD, 9, False)


@pytest.mark.parametrize(("steps", "seconds"), [(391, 88.3), (1563, 3688.0), (20_000, 36_000.0)])
def test_epoch_lines_fit_into_80_columns(steps: int, seconds: float) -> None:
    changes = {"target_reached": True, "steps": steps, "seconds": seconds, "last_loss": 10.8}
    changes |= {"flops": 1e17}
    record = EpochRecord.model_validate(dict(RECORD) | changes)
    lines = [Text.from_markup(line) for line in epoch_lines(record, 1000, True, 80).splitlines()]
    assert max(map(len, lines)) <= 80
    assert "Accuracy: 8087/10000 (80.87%)" in lines[2].plain
    assert lines[3].plain == "✓ Target Reached! ✓ Best Model!"
    assert f" {steps}/{steps} [" in lines[1].plain.replace("|", " ")


METRICS: Any = SimpleNamespace(last_loss=10.8318, accuracy=77.8, loss=9.5)


def test_long_epochs_print_lines_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    display = ProgressDisplay()
    display(Started(Run(Path("run")), Recipe(epochs=2), "cpu", 1000, 10, 0))
    for step in range(1, 11):
        now += 20.0
        display(StepFinished(step, METRICS))
    # The evaluation's batches: its progress is that of the step before.
    for _ in range(5):
        now += 20.0
        display.check_evaluation(9)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0] == "epoch 1/2, batch 2/10: loss 10.8318, 77.80 %, 06:00 left"
    assert [line.split(":")[0] for line in lines] == [
        *(f"epoch 1/2, batch {batch}/10" for batch in (2, 4, 6, 8, 10)),
        "epoch 1/2",
        "epoch 1/2",
    ]
    assert lines[-1] == "epoch 1/2: evaluation, batch 4"


def test_bar_shows_evaluation_and_the_time_left_of_the_training_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, soft_wrap=True)
    monkeypatch.setattr(console_module, "console", terminal)

    def bar() -> str:
        with terminal.capture() as capture:
            terminal.print(display._progress.get_renderable())
        return Text.from_ansi(capture.get()).plain

    display = ProgressDisplay()
    display(Started(Run(Path("run")), Recipe(epochs=100), "cpu", 50_000, 391, 0))
    now += 391 * 0.5
    display(StepFinished(391, METRICS))
    shown = bar()
    assert len(shown.splitlines()) == 1
    assert "epoch 1/100" in shown
    assert "391/391 loss 10.8318, 77.80 %" in shown
    assert "5:22:34 left" in shown
    now += 1
    display.check_evaluation(391)
    assert "evaluation" not in bar()
    display.check_evaluation(390)
    assert "evaluation, batch 1" in bar()


ROWS = [("a rather long name of a run", "61.25 ± 0.30", "1,515.0"), ("b\x1b[31m", "1.00", "1")]
TABLE = KitTable(("Recipe", "Test accuracy, last epoch, %", "Training, s"), ROWS)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_table_is_readable_in_terminals_of_any_width(width: int) -> None:
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=width, color_system=None)
    terminal.print(terminal_table(TABLE))
    lines = file.getvalue().splitlines()
    words = " ".join(lines).split()
    assert {"61.25", "±", "0.30", "1,515.0", "1.00", "b", "[31m"} <= set(words)
    if width == 20:
        assert lines[-4:] == [
            "b [31m",
            "  Test accuracy, ",
            "last epoch, %: 1.00",
            "  Training, s: 1",
        ]
    else:
        assert any("61.25 ± 0.30" in line and "1,515.0" in line for line in lines)
        assert max(map(len, lines)) <= width


def test_table_in_a_file_is_whole() -> None:
    file = io.StringIO()
    Console(file=file, width=20, soft_wrap=True).print(terminal_table(TABLE))
    assert file.getvalue().splitlines()[1].split()[-1] == "1,515.0"
    assert len(file.getvalue().splitlines()) == 3


@pytest.mark.parametrize("width", [20, 40, 80])
def test_result_and_summary_fit_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(
        file=file, force_terminal=True, width=width, color_system=None, soft_wrap=True
    )
    monkeypatch.setattr(console_module, "console", terminal)
    figures = {"test_loss": 1.0, "test_accuracy": 61.25, "test_top5": 88.0}
    last, best = FinalFigures(epoch=3, **figures), FinalFigures(epoch=2, **figures)
    fields = {"epochs": 3, "epochs_planned": 3, "selection_split": "test", "evaluations": 1}
    show_result(Result(**fields | {"last": last, "best": best}), Path("run"))
    lines = file.getvalue().splitlines()
    if width < 60:
        assert lines[:3] == ["last epoch", "  epoch: 3", "  test accuracy: 61.25 %"]
    else:
        assert "last epoch 3 61.25 % 88.00 % 1.0000" in [" ".join(line.split()) for line in lines]
    assert max(map(len, lines[:-1])) <= max(width, 24)


def test_reading_of_files_is_shown_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console_module, "LINE_INTERVAL", 0.0)
    with reading_progress():
        report_progress(500, 2000)
    with ProgressDisplay():
        report_progress(1500, 2000)
    report_progress(1, 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["reading pictures: 500 of 2,000", "reading pictures: 1,500 of 2,000"]


def test_reading_of_files_is_shown_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80, _environ={})
    monkeypatch.setattr(console_module, "console", terminal)
    with ProgressDisplay() as display:
        report_progress(500, 2000)
        display._progress.refresh()
    assert "reading pictures" in screen.getvalue()
    assert "500/2000" in screen.getvalue()


def test_notes_on_the_data_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as display:
        run = SimpleNamespace(path="run", init=None)
        display(Started(run, Recipe(), "cpu", 100, 2, 0, notes=("There is [no] split.",)))  # type: ignore[arg-type]
    assert "There is [no] split." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("classes", "images", "shown"),
    [(3, 24, "worth 4.2 points"), (3, 1, "a single image"), (6, 100, "")],
)
def test_result_of_few_classes_and_images_comes_with_a_caution(
    classes: int, images: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = FinalFigures(epoch=3, test_loss=1.0, test_accuracy=61.25, test_top5=88.0)
    result = Result(epochs=3, epochs_planned=3, selection_split="test", last=figures, best=figures)
    splits = {"test": SplitFingerprint(images=images)}
    show_result(
        result, Path("run"), DataFingerprint(classes=tuple("abcdef"[:classes]), splits=splits)
    )
    out = capsys.readouterr().out
    assert ("top-5" in out) == (classes > 5)
    assert ("The test set has" in out) == bool(shown)
    assert shown in out
