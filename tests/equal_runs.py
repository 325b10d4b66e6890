"""What it means that two runs are equal, bit for bit."""

import json
from pathlib import Path

import torch

from residua.runs.run import Run
from residua.training.state import Record, read

MEASURED = {
    "log.jsonl": ("seconds", "images_per_second", "evaluation_seconds", "memory_mib"),
    "result.json": ("train_seconds", "evaluation_seconds"),
    "checkpoints": ("seconds",),
}
"""Times and memory: the only fields, file by file, in which equal trainings differ."""


def comparable(log: list[Record]) -> list[Record]:
    """A log without what no two trainings have in common."""
    apart = MEASURED["log.jsonl"]
    return [{key: each[key] for key in each if key not in apart} for each in log]


def assert_equal_checkpoints(first: Path, second: Path) -> None:
    weights, state = read(first)
    again, other = read(second)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    one, two = json.loads(state), json.loads(other)
    for said in (one, two):
        said["history"] = comparable(said["history"])
        for name in MEASURED["checkpoints"]:
            said.pop(name)
    assert one == two


def assert_equal_runs(first: Path, second: Path) -> None:
    """Weights, optimisers, logs, results, evidence are the same; nothing half written is left."""
    one, other = Run.open(first), Run.open(second)
    assert comparable(one.log) == comparable(other.log)
    assert [each.name for each in one.saved] == [each.name for each in other.saved]
    for checkpoint in (one.best, *one.saved):
        assert_equal_checkpoints(checkpoint, other.checkpoints / checkpoint.name)
    mine, theirs = dict(one.result or {}), dict(other.result or {})
    for result in (mine, theirs):
        for name in MEASURED["result.json"]:
            result.pop(name)
    assert mine == theirs
    artifacts = sorted(path.name for path in one.artifacts.iterdir())
    assert artifacts == sorted(path.name for path in other.artifacts.iterdir())
    for name in artifacts:
        assert (one.artifacts / name).read_bytes() == (other.artifacts / name).read_bytes()
    assert artifacts == ["filters.safetensors", "predictions.safetensors", "samples.safetensors"]
    assert not [path for path in second.rglob("*") if "partial" in path.name]
