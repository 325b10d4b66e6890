from pathlib import Path

import pytest
from made_runs import finish, make_run, records, save_predictions, save_samples

from residua.runs.environment import Environment
from residua.runs.records import DataFingerprint, SplitFingerprint
from residua.runs.run import Run


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    """A finished run of eight epochs, with all of its files."""
    classes = tuple(f"class_{index}" for index in range(6))
    run = make_run(tmp_path / "run", log=records(8))
    environment = Environment(device="cpu, 2 threads", command=("a b",), packages={"torch": "2"})
    run.write_json("environment.json", environment)
    splits = {"test": SplitFingerprint(images=24)}
    run.write_json("data.json", DataFingerprint(classes=classes, splits=splits))
    save_samples(run, classes)
    save_predictions(run, classes)
    return finish(run)
