"""Compare the outcomes of two trainings bit for bit, apart from measured times and memory."""

from pathlib import Path

from run_contents import Contents, contents, first_difference, leaves, log

INPUTS = ("recipe.json ", "environment.json ")
"""What a training starts from; trainings with different recipes may have equal outcomes."""
ARTIFACTS = ["filters.safetensors", "predictions.safetensors", "samples.safetensors"]
"""The artifacts of a finished run."""


def difference(first: Path, second: Path) -> str | None:
    """The first difference between two finished runs; None if they are equal bit for bit.

    Compares log, result, data fingerprint, checkpoints with their metadata, saved models and
    artifacts.
    """
    one, other = map(_outcome, (first, second))
    return first_difference(one, other, set())


def _outcome(run: Path) -> Contents:
    outcome: Contents = {
        key: value for key, value in contents(run, old=False).items() if not key.startswith(INPUTS)
    }
    binary = [*run.glob("*.safetensors"), *run.glob("artifacts/*")]
    return outcome | {f"{path.relative_to(run)} bytes": path.read_bytes() for path in binary}


def log_without_measurements(run: Path) -> Contents:
    """The values of a run's log, without times and memory."""
    return leaves({str(record["epoch"]): record for record in log(run)})


def assert_equal_runs(first: Path, second: Path) -> None:
    """Assert that two runs are equal bit for bit, complete, and have no partly written files."""
    assert difference(first, second) is None
    assert sorted(path.name for path in (second / "artifacts").iterdir()) == ARTIFACTS
    assert not [path for path in second.rglob("*") if "partial" in path.name]
