from pathlib import Path

import pytest
from made_runs import finish, keep_predictions, keep_samples, make_run, records

from residua.run import Run


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    classes = [f"class_{place}" for place in range(6)]
    run = make_run(tmp_path / "run", log=records(8))
    run.record("environment.json", {"device": "cpu, 2 threads", "git": None, "command": ["a b"]})
    keep_samples(run, classes)
    keep_predictions(run, classes)
    finish(run)
    return run
