from pathlib import Path

import pytest
from made_runs import finish, make_run, records, save_predictions, save_samples

from residua.runs.run import Run


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    classes = [f"class_{place}" for place in range(6)]
    run = make_run(tmp_path / "run", log=records(8))
    run.write_json(
        "environment.json", {"device": "cpu, 2 threads", "git": None, "command": ["a b"]}
    )
    save_samples(run, classes)
    save_predictions(run, classes)
    finish(run)
    return run
