"""The report that is updated during a training."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from residua.cli import live_report, main
from residua.cli.live_report import LiveReport
from residua.recipes.recipe import Recipe
from residua.reports import write_report
from residua.runs.records import EpochRecord
from residua.runs.run import Run
from residua.training.events import EpochFinished, Event, Finished, Started, observe
from residua.training.loop import train


class Clock:
    """A clock that is moved by the test, and by one second for every report."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.epoch = 0
        self.written: list[tuple[int, int]] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(live_report, "write_report", self.write)

    def write(self, run: Run, refresh: int) -> None:
        self.now += 1.0
        self.written.append((self.epoch, refresh))

    def training(self, seconds: float) -> Iterator[Event]:
        """The events of eight epochs of this length."""
        yield Started(Run(Path("run")), Recipe(), "cpu", 100, 4, 0)
        for epoch in range(1, 9):
            self.epoch = epoch
            self.now += seconds
            yield EpochFinished(record(epoch), best=False)


def record(epoch: int) -> EpochRecord:
    figures: dict[str, Any] = {"train_loss": 4.0, "train_accuracy": 1.0, "lr": 0.1}
    figures |= {"grad_norm": 1.0, "seconds": 2.0, "images_per_second": 50.0}
    return EpochRecord(epoch=epoch, step=4 * epoch, **figures)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_short_training_is_not_reported(clock: Clock) -> None:
    list(observe(clock.training(2.0), LiveReport()))
    assert clock.written == []


def test_slow_training_is_reported_after_each_epoch(clock: Clock) -> None:
    list(observe(clock.training(60.0), LiveReport()))
    assert clock.written == [(epoch, live_report.REFRESH) for epoch in range(1, 9)]


def test_reports_take_a_small_share_of_the_time(clock: Clock) -> None:
    list(observe(clock.training(20.0), LiveReport()))
    assert [epoch for epoch, _ in clock.written] == [2, 5, 8]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("figure")])
def test_failing_report_is_reported_once_and_does_not_end_the_training(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(run: Run, refresh: int) -> None:
        raise error

    monkeypatch.setattr(live_report, "write_report", failing)
    with pytest.warns(UserWarning, match="LiveReport failed") as warnings:
        events = list(observe(clock.training(60.0), LiveReport()))
    assert len(events) == 9
    assert len(warnings) == 1


def test_page_of_a_running_training_reloads_itself(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_report, "FIRST_REPORT_AFTER", -1.0)
    reload = f'<meta http-equiv="refresh" content="{live_report.REFRESH}">'
    run = Run(tmp_path / "run")
    page = run.report_dir / "report.html"
    reloading = 0
    for event in observe(train(tiny(epochs=1), run.path), LiveReport()):
        if isinstance(event, EpochFinished):
            reloading += reload in page.read_text()
            assert "accuracy.svg" in (run.report_dir / "report.md").read_text()
    assert isinstance(event, Finished)
    assert reloading == 1
    write_report(Run.open(run.path))
    assert "http-equiv" not in page.read_text()


def test_train_command_keeps_the_report_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(live_report, "FIRST_REPORT_AFTER", -1.0)
    monkeypatch.setattr(
        live_report, "write_report", lambda run, refresh: written.append(len(run.log))
    )
    small = ["--data.train", "130", "--data.test", "20", "--device", "cpu", "--epochs", "1"]
    main(["train", "quickstart", *small, "--dir", str(tmp_path / "run")])
    assert written == [1]
