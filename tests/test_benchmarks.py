"""The scripts beside the package: what they keep, and what they make of it."""

import runpy
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from residua import Run
from residua.reports import published
from residua.reports.history import History

ROOT = Path(__file__).parent.parent
TINY = ["--data.limit", "32", "--batch-size", "16", "--device", "cpu"]


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / f"benchmarks/{name}.py"))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The home of a quickstart that was stopped after its first epoch, packed beside it."""
    words = ["quickstart", "--epochs", "1", "--home", str(tmp_path / "home")]
    script("reproduce")["main"]([*words, "--out", str(tmp_path / "out"), "--", *TINY])
    return tmp_path


def test_reproduce_goes_on_where_it_stopped(kept: Path) -> None:
    run = Run.open(kept / "home/quickstart-seed-0")
    assert (run.recipe.epochs, run.recipe.data.limit) == (10, 32)
    assert [record.epoch for record in run.log] == [1]
    main = script("reproduce")["main"]
    main(["quickstart", "--home", str(kept / "home"), "--minutes", "0"])
    assert len(run.log) == 1
    main(["quickstart", "--home", str(kept / "home")])
    assert len(run.log) == 10
    assert run.result is not None
    main(["quickstart", "--home", str(kept / "home")])
    assert len(run.log) == 10


def test_reproduce_packs_a_run_without_its_checkpoints(kept: Path) -> None:
    with tarfile.open(kept / "out/quickstart-seed-0.tar.gz") as file:
        names = file.getnames()
    assert {"quickstart-seed-0/log.jsonl", "quickstart-seed-0/report/report.html"} <= set(names)
    assert not [name for name in names if "checkpoint" in name]


def test_reproduce_names_a_wrong_system(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script("reproduce")["main"](["resnt44"])
    assert "did you mean resnet44" in capsys.readouterr().err


def test_a_curve_counts_one_evaluation_alone() -> None:
    curve = script("curve")
    part = {"seconds": 60.0, "evaluation_seconds": 30.0, "train_accuracy": 20.0}
    records = [
        part | {"epoch": 1, "holdout_accuracy": 10.0},
        {"epoch": 2, "seconds": 90.0, "train_accuracy": 25.0},
        part | {"epoch": 3, "holdout_accuracy": 15.0},
    ]
    table = curve["table"](curve["points"](History(records, "holdout")), "holdout")
    assert table.splitlines()[2:] == [
        "| 1.5 | 1 | 20.00 | 10.00 |",
        "| 2.5 | 2 | 25.00 | – |",
        "| 4.0 | 3 | 20.00 | 15.00 |",
    ]


def test_a_curve_is_drawn(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = kept / "curve.svg"
    script("curve")["main"]([str(kept / "home/quickstart-seed-0"), str(file)])
    (row,) = capsys.readouterr().out.splitlines()[2:]
    assert row.split(" | ")[1] == "1"
    assert ">minutes<" in file.read_text(encoding="utf-8")


def record(
    home: Path, name: str, epochs: int, finished: bool, data: str, planned: int = 70
) -> None:
    """A made record of a published system."""
    run = home / f"2026-01-01-{name}"
    run.mkdir(parents=True)
    points = published.reference(name).curve
    assert points is not None
    (run / "recipe.json").write_text(
        f'{{"name": "{name}", "data": {data}, "tta": "single", "epochs": {planned}, '
        '"batch_size": 256}'
    )
    (run / "environment.json").write_text('{"device": "cpu", "processor": "P", "threads": 2}')
    (run / "log.jsonl").write_text(
        "".join(
            f'{{"epoch": {epoch}, "test_accuracy": {10 * epoch}, "seconds": 100.0, '
            f'"images_per_second": 500.0, "test_images": 10000, "evaluation_seconds": 8.0}}\n'
            for epoch in range(1, epochs + 1)
        )
    )
    if finished:
        (run / "result.json").write_text("{}")


@pytest.fixture
def records(tmp_path: Path) -> dict[str, Any]:
    """The records script, on records made here."""
    (tmp_path / "project/benchmarks").mkdir(parents=True)
    copy = tmp_path / "project/benchmarks/records.py"
    shutil.copy(ROOT / "benchmarks/records.py", copy)
    return runpy.run_path(str(copy)) | {"home": tmp_path / "project/records"}


def row(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_partial_run_stands_beside_the_published_epoch(records: dict[str, Any]) -> None:
    record(records["home"], "resnet26w", 3, finished=False, data="{}")
    cells = row(records["table"](), "resnet26w")
    there = published.reference("resnet26w").curve.points[2].test_accuracy  # type: ignore[union-attr]
    assert cells[2:6] == [f"30.00 (epoch 3; published then: {there:.2f})", "–", "1", "3 of 70"]
    assert cells[6:9] == ["300", "500", "P, 2 threads"]
    # 70 epochs of 50,000 images at 500/s and of 10,000 test images at 1,250/s
    assert "resnet26w`: 70 epochs, about 2 hours on P, 2 threads, at 500 images/s" in (
        records["remaining"]()
    )


def test_a_finished_run_is_no_longer_remaining(records: dict[str, Any]) -> None:
    assert "resnet26w" in records["remaining"]()
    record(records["home"], "resnet26w", 4, finished=True, data="{}")
    assert "resnet26w" not in records["remaining"]()
    assert row(records["table"](), "resnet26w")[2:4] == ["40.00", "40.00"]


def test_a_run_of_fewer_epochs_is_not_the_whole_training(records: dict[str, Any]) -> None:
    record(records["home"], "resnet26w", 4, finished=True, data="{}", planned=4)
    assert "resnet26w`: 70 epochs, about 2 hours" in records["remaining"]()


@pytest.mark.parametrize("data", ['{"limit": 800}', '{"holdout": 5000}'])
def test_a_part_of_the_images_tells_the_speed_only(records: dict[str, Any], data: str) -> None:
    record(records["home"], "resnet26w", 4, finished=True, data=data)
    assert row(records["table"](), "resnet26w")[2:] == ["–"] * 8
    assert "at 500 images/s" in records["remaining"]()


def test_the_readme_says_what_the_records_say() -> None:
    said = script("records")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert said["table"]() in readme
    assert said["remaining"]() in readme
