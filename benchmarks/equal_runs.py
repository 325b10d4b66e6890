"""Compare the outcomes of two trainings bit for bit, apart from measured times and memory."""

from pathlib import Path

from run_contents import Contents, contents, first_difference, leaves, log

INPUTS = ("recipe.json ", "environment.json ")
"""What a training starts from; two recipes may be expected to have equal outcomes."""
ARTIFACTS = ["filters.safetensors", "predictions.safetensors", "samples.safetensors"]


def difference(first: Path, second: Path) -> str | None:
    """The first difference between two finished runs; None if they are equal bit for bit.

    Compares log, result, data fingerprint, all checkpoints with their metadata, and artifacts.
    """
    one, other = (
        {
            key: value
            for key, value in contents(run, old=False).items()
            if not key.startswith(INPUTS)
        }
        for run in (first, second)
    )
    if found := first_difference(one, other, set()):
        return found
    for name in sorted(path.name for path in (first / "artifacts").iterdir()):
        if (first / "artifacts" / name).read_bytes() != (second / "artifacts" / name).read_bytes():
            return f"artifacts/{name}: its bytes"
    return None


def log_without_measurements(run: Path) -> Contents:
    """The values of a run's log, without times and memory."""
    return leaves({str(record["epoch"]): record for record in log(run)})


def assert_equal_runs(first: Path, second: Path) -> None:
    """Assert that two runs are equal bit for bit, complete, and have no partly written files."""
    assert difference(first, second) is None
    assert sorted(path.name for path in (second / "artifacts").iterdir()) == ARTIFACTS
    assert not [path for path in second.rglob("*") if "partial" in path.name]
