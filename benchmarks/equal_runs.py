"""Compare the outcomes of two trainings bit for bit, apart from measured times and memory."""

import json
from pathlib import Path

from run_contents import Contents, contents, first_difference, leaves, log

NOT_COMPARED = (
    "recipe.json ",
    "environment.json ",
    *(
        f"{name}.json {field}"
        for name in ("model", "model-last")
        for field in ("recipe.", "sha256")
    ),
)
"""What a training starts from, and checksums that cover it: different recipes, such as with and
without `deterministic`, may have equal outcomes."""
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
    outcome = contents(run, old=False)
    for record in log(run):
        outcome[f"log.jsonl {record['epoch']}.gradient_warning"] = record.get("gradient_warning")
    for path in run.glob("model*.json"):
        outcome |= leaves(json.loads(path.read_text(encoding="utf-8")), f"{path.name} ")
    for path in (*run.glob("model*.safetensors"), *run.glob("artifacts/*")):
        outcome[f"{path.relative_to(run)} bytes"] = path.read_bytes()
    return {
        key: value
        for key, value in outcome.items()
        if not key.startswith(NOT_COMPARED) and " metadata recipe." not in key
    }


def log_without_measurements(run: Path) -> Contents:
    """The values of a run's log, without times and memory."""
    return leaves({str(record["epoch"]): record for record in log(run)})


def assert_equal_runs(first: Path, second: Path) -> None:
    """Assert that two runs are equal bit for bit, complete, and have no partly written files."""
    assert difference(first, second) is None
    names = {str(path.relative_to(second)) for path in second.rglob("*") if path.is_file()}
    assert {"model.json", "model.safetensors", "result.json"} <= names
    assert sorted(path.name for path in (second / "artifacts").iterdir()) == ARTIFACTS
    assert not [name for name in names if "partial" in name]
