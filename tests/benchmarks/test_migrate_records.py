"""Records in old names are translated, and no number changes."""

import json
from pathlib import Path
from typing import Any

import migrate_records
import pytest
from migrate_records import migrate, numbers

OLD_RESULT = {
    "recipe": "sprint",
    "epochs": 16,
    "selected_on": "test",
    "views": "translated",
    "best_lost": None,
    "last": {"epoch": 16, "test_accuracy": 75.21},
    "target": 73.0,
    "target_reached_in_epoch": 7,
}
OLD_BENCH = {
    "environment": {"command": ["bench", "--run", "first"], "threads": 2},
    "product_flops": 17179869184,
    "races": [
        {
            "name": "resnet20",
            "racers": [
                {
                    "name": "product",
                    "does": "a product of large square matrices",
                    "cold": {"imported": 1.25, "prepared": 3.5, "first": 3.75},
                    "warm": None,
                    "laps": [{"steps": 14, "seconds": 2.5, "waited": 0.0, "memory_mib": 841.5}],
                }
            ],
        }
    ],
    "augmentations": [],
}


def write(path: Path, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree), encoding="utf-8")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Records in old names."""
    run = tmp_path / "2026-01-01-sprint/seed-0"
    write(run / "recipe.json", {"epochs": 16, "last_batch": "drop", "views": "translated"})
    write(run / "result.json", OLD_RESULT)
    write(run / "data.json", {"normalisation": {"mean": [0.5], "std": [0.25]}})
    write(run / "environment.json", {"command": ["residua", "train", "sprint", "--run", "x"]})
    for name in ("evidence/samples.safetensors", "report/report.html", "report/report.md"):
        write(run / name, "content")
    write(run / "report/figures/loss.svg", "content")
    write(tmp_path / "bench/machine.json", OLD_BENCH)
    return tmp_path


def test_runs_are_translated(folder: Path) -> None:
    migrate(folder)
    run = folder / "2026-01-01-sprint/seed-0"
    recipe = {"epochs": 16, "drop_last": True, "tta": "mirror_translate"}
    assert read(run / "recipe.json") == recipe
    result = read(run / "result.json")
    assert (result["selection_split"], result["tta"]) == ("test", "mirror_translate")
    assert (result["target_accuracy"], result["target_epoch"]) == (73.0, 7)
    assert read(run / "data.json") == {"normalization": {"mean": [0.5], "std": [0.25]}}
    assert read(run / "environment.json")["command"][-2:] == ["--run", "x"]


def test_artifacts_and_texts_stay_and_drawn_files_go(folder: Path) -> None:
    migrate(folder)
    run = folder / "2026-01-01-sprint/seed-0"
    files = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    kept = ["artifacts/samples.safetensors", "report/report.md"]
    assert [name for name in files if "/" in name] == kept


def test_benchmarks_are_translated(folder: Path) -> None:
    migrate(folder)
    tree = read(folder / "bench/machine.json")
    assert tree["environment"] == OLD_BENCH["environment"]
    (result,) = tree["training"][0]["results"]
    assert result["name"] == "matmul"
    assert result["cold_start"]["first_step"] == 3.75
    assert result["samples"][0] == {
        "steps": 14, "seconds": 2.5, "wait_seconds": 0.0, "peak_memory_mib": 841.5,
    }  # fmt: skip


def test_no_number_changes(folder: Path) -> None:
    before = {path: numbers(read(path)) for path in folder.rglob("*.json")}
    migrate(folder)
    assert {path: numbers(read(path)) for path in folder.rglob("*.json")} == before
    assert sum(before[folder / "bench/machine.json"].values()) == 9


def test_a_translation_that_changes_a_number_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(migrate_records.BENCH_FIELDS, "prepared", "imported")
    with pytest.raises(ValueError, match=r"machine\.json: its numbers would change"):
        migrate(folder)


def test_a_second_call_changes_nothing(folder: Path) -> None:
    assert migrate(folder)
    assert sum(migrate(folder).values()) == 0
