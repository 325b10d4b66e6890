"""reproduce.py trains in parts and packs runs; curve.py shows accuracy against time."""

import tarfile
from pathlib import Path

import curve
import pytest
import reproduce

from residua import Run
from residua.runs.records import EpochRecord

TINY = ["--data.limit", "32", "--batch-size", "16", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a quickstart that was stopped after its first epoch, and packed."""
    options = ["--epochs", "1", "--home", str(tmp_path / "home"), "--out", str(tmp_path / "out")]
    reproduce.main(["quickstart", *options, "--", *TINY])
    return tmp_path


def test_a_stopped_run_continues(folder: Path) -> None:
    run = Run.open(folder / "home/quickstart-seed-0")
    assert (run.recipe.epochs, run.recipe.data.limit) == (10, 32)
    assert [record.epoch for record in run.log] == [1]
    reproduce.main(["quickstart", "--home", str(folder / "home"), "--minutes", "0"])
    assert len(run.log) == 1
    reproduce.main(["quickstart", "--home", str(folder / "home")])
    assert len(run.log) == 10
    assert run.result is not None
    reproduce.main(["quickstart", "--home", str(folder / "home")])
    assert len(run.log) == 10


def test_a_run_is_packed_without_its_checkpoints(folder: Path) -> None:
    with tarfile.open(folder / "out/quickstart-seed-0.tar.gz") as file:
        names = file.getnames()
    assert {"quickstart-seed-0/log.jsonl", "quickstart-seed-0/report/report.html"} <= set(names)
    assert not [name for name in names if "checkpoint" in name]


def test_an_unknown_system_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce.main(["resnt44"])
    assert "did you mean resnet44" in capsys.readouterr().err


def make_epoch(epoch: int, seconds: float, train_accuracy: float, **fields: float) -> EpochRecord:
    if "holdout_accuracy" in fields:
        fields |= {"holdout_loss": 1.0, "holdout_top5": 50.0, "evaluation_seconds": 30.0}
    return EpochRecord(
        epoch=epoch,
        step=epoch,
        train_loss=1.0,
        train_accuracy=train_accuracy,
        lr=0.1,
        grad_norm=1.0,
        seconds=seconds,
        images_per_second=1.0,
        **fields,
    )


def test_time_includes_one_evaluation_only() -> None:
    log = [
        make_epoch(1, 60.0, 20.0, holdout_accuracy=10.0),
        make_epoch(2, 90.0, 25.0),
        make_epoch(3, 60.0, 20.0, holdout_accuracy=15.0),
    ]
    table = curve.table(curve.accuracy_points(log), "holdout")
    assert table.splitlines()[2:] == [
        "| 1.5 | 1 | 20.00 | 10.00 |",
        "| 2.5 | 2 | 25.00 | – |",
        "| 4.0 | 3 | 20.00 | 15.00 |",
    ]


def test_curve_of_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "curve.svg"
    capsys.readouterr()
    curve.main([str(folder / "home/quickstart-seed-0"), str(file)])
    (row,) = capsys.readouterr().out.splitlines()[2:]
    assert row.split(" | ")[1] == "1"
    assert ">minutes<" in file.read_text(encoding="utf-8")
