"""A report that keeps up with its training."""

import time

import pytest
from made_runs import make_run, records

from residua.cli import live_report as module
from residua.cli import main
from residua.cli.live_report import live
from residua.training.loop import EpochFinished, Finished, Started


def training(run, seconds, clock):
    """The events of a training whose epochs take so long by a clock of its own."""
    yield Started(run, None, 0)
    for record in records(8):
        clock.now += seconds
        run.append(record)
        yield EpochFinished(record, best=False)
    yield Finished({})


class TrainingProgress:
    """A clock that moves when it is told to, and with every report."""

    def __init__(self, monkeypatch):
        self.now, self.written = 100.0, []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(module, "write_report", self.write)

    def write(self, run, refresh):
        self.now += 1.0
        self.written.append((len(run.log), refresh))


@pytest.fixture
def clock(monkeypatch):
    return TrainingProgress(monkeypatch)


def test_a_short_training_is_left_alone(clock, tmp_path):
    list(live(training(make_run(tmp_path / "run"), 2.0, clock)))
    assert clock.written == []


def test_a_slow_one_is_reported_after_each_epoch(clock, tmp_path):
    list(live(training(make_run(tmp_path / "run"), 60.0, clock)))
    assert clock.written == [(epoch, module.REFRESH) for epoch in range(1, 9)]


def test_reports_take_a_small_part_of_the_time(clock, tmp_path):
    list(live(training(make_run(tmp_path / "run"), 20.0, clock)))
    assert [epoch for epoch, _ in clock.written] == [2, 5, 8]


def test_events_pass_as_they_are(clock, tmp_path):
    kinds = [type(event) for event in live(training(make_run(tmp_path / "run"), 60.0, clock))]
    assert kinds == [Started, *[EpochFinished] * 8, Finished]


def test_a_report_that_cannot_be_written_does_not_end_the_training(clock, tmp_path, monkeypatch):
    def full(run, refresh):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_report", full)
    with pytest.warns(UserWarning, match="No space left"):
        *_, end = live(training(make_run(tmp_path / "run"), 60.0, clock))
    assert end == Finished({})


def test_the_page_of_a_running_training_refreshes_itself(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    monkeypatch.setattr(module, "SOONEST", -1.0)

    def events():
        yield Started(run, None, 0)
        run.append(records(1)[0])
        yield EpochFinished(records(1)[0], best=True)

    list(live(events()))
    page = run.report / "report.html"
    assert f'<meta http-equiv="refresh" content="{module.REFRESH}">' in page.read_text()
    assert "accuracy.svg" in (run.report / "report.md").read_text()
    module.write_report(run)
    assert "http-equiv" not in page.read_text()


def test_the_command_keeps_the_report_up_to_date(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(module, "SOONEST", -1.0)
    monkeypatch.setattr(module, "write_report", lambda run, refresh: written.append(len(run.log)))
    small = ["--data.train", "130", "--data.test", "20", "--device", "cpu", "--epochs", "1"]
    main(["train", "quickstart", *small, "--dir", str(tmp_path / "run")])
    assert written == [1]
