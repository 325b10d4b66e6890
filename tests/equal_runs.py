"""What it means that two runs are equal, bit for bit."""

from collections.abc import Iterable
from pathlib import Path

import torch

from residua.runs.checkpoint import Checkpoint
from residua.runs.records import EpochRecord
from residua.runs.run import Run

MEASURED = {"seconds", "images_per_second", "evaluation_seconds", "memory_mib"}
"""Times and memory: the only fields in which the logs of equal trainings differ."""
MEASURED_RESULT = {"train_seconds", "evaluation_seconds"}


def comparable(log: Iterable[EpochRecord]) -> list[dict]:
    """A log without what was measured by a clock."""
    return [record.model_dump(exclude=MEASURED) for record in log]


def assert_equal_checkpoints(first: Path, second: Path) -> None:
    one, other = Checkpoint.load(first), Checkpoint.load(second)
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    assert comparable(one.metadata.history) == comparable(other.metadata.history)
    apart = {"history", "seconds"}
    assert one.metadata.model_dump(exclude=apart) == other.metadata.model_dump(exclude=apart)


def assert_equal_runs(first: Path, second: Path) -> None:
    """Weights, optimisers, logs, results, models, artifacts are equal; nothing is half written."""
    one, other = Run.open(first), Run.open(second)
    assert comparable(one.log) == comparable(other.log)
    assert [path.name for path in one.checkpoints] == [path.name for path in other.checkpoints]
    for checkpoint in (one.best_checkpoint, *one.checkpoints):
        assert_equal_checkpoints(checkpoint, other.checkpoint_dir / checkpoint.name)
    results = [run.result.model_dump(exclude=MEASURED_RESULT) for run in (one, other) if run.result]
    assert len(results) == 2
    assert results[0] == results[1]
    models = sorted(path.name for path in first.glob("model*"))
    assert models == sorted(path.name for path in second.glob("model*"))
    artifacts = sorted(path.name for path in one.artifact_dir.iterdir())
    assert artifacts == sorted(path.name for path in other.artifact_dir.iterdir())
    for name in (*models, *(f"artifacts/{artifact}" for artifact in artifacts)):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert {"model.json", "model.safetensors"} <= set(models)
    assert artifacts == ["filters.safetensors", "predictions.safetensors", "samples.safetensors"]
    assert not [path for path in second.rglob("*") if "partial" in path.name]
