"""Every file in records/ is read by the present code, and has no names that were given up."""

import json
import subprocess
from pathlib import Path

import pytest
from speed.results import Bench

from residua.runs.artifacts import load_filters, load_predictions, load_samples
from residua.runs.run import Run

RECORDS = Path(__file__).parent.parent.parent / "records"
RUNS = sorted(path.parent for path in RECORDS.rglob("recipe.json"))


def test_there_are_runs() -> None:
    assert len(RUNS) >= 41


@pytest.mark.parametrize("path", RUNS, ids=lambda path: str(path.relative_to(RECORDS)))
def test_a_recorded_run_loads(path: Path) -> None:
    run = Run.open(path)
    written = json.loads((path / "recipe.json").read_text(encoding="utf-8"))
    assert_contains(run.recipe.model_dump(mode="json"), written)
    epochs = [record.epoch for record in run.log]
    assert epochs == list(range(1, len(epochs) + 1))
    assert epochs
    assert run.environment.device or not (path / "environment.json").exists()
    assert run.data.splits or not (path / "data.json").exists()
    result = run.result
    if result is not None:
        written = json.loads((path / "result.json").read_text(encoding="utf-8"))
        assert_contains(result.model_dump(mode="json"), written)
        assert result.last.epoch == epochs[-1]
        assert run.recipe.tta == result.tta
    for load in (load_samples, load_predictions, load_filters):
        load(run)


def assert_contains(loaded: object, written: object) -> None:
    """Assert that a document was loaded with all of its fields and values."""
    if isinstance(written, dict):
        assert isinstance(loaded, dict)
        assert written.keys() <= loaded.keys()
        for key in written:
            assert_contains(loaded[key], written[key])
    elif isinstance(written, list):
        assert isinstance(loaded, list | tuple)
        assert len(loaded) == len(written)
        for one, other in zip(loaded, written, strict=True):
            assert_contains(one, other)
    else:
        assert loaded == written


@pytest.mark.parametrize("path", sorted((RECORDS / "bench").glob("*.json")), ids=lambda p: p.stem)
def test_a_recorded_benchmark_loads(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = json.loads(text)
    if "training" in tree:
        assert_contains(Bench.model_validate_json(text).model_dump(mode="json"), tree)
    else:
        assert tree.keys() & {"shares", "shapes"}


def test_files_that_residua_report_writes_are_not_committed() -> None:
    command = ["git", "-C", str(RECORDS), "ls-files"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not in a git repository")
    generated = {"report.html", "figures", "evidence", "checkpoints", ".lock"}
    assert [name for name in listed.stdout.splitlines() if generated & set(Path(name).parts)] == []
