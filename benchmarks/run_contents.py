"""Everything of a finished run that two equal trainings have in common, and how two runs differ.

What a run from before the renames holds is translated to new names (renames.py). Measured times and
memory are left out, and so is what only describes the machine.
"""

import json
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import renames
import torch
from safetensors import safe_open

MEASURED = {"seconds", "images_per_second", "evaluation_seconds", "memory_mib", "train_seconds"}
OMITTED = {"rollbacks": 0, "skipped_steps": 0, "scaler": {}, "history": []}
"""Values that a file may leave out instead."""
WORDED = "gradient_warning"
"""Of a line of the log: only whether there is one is compared, not how it is worded."""
NOT_COMPARED = {"sha256", "format"}
"""Metadata of a safetensors file: a checksum that covers measured times, and its format."""
Contents = dict[str, Any]
"""A file's name and a path in it, to a tensor or a JSON value."""


def log(run: Path) -> list[dict[str, Any]]:
    """The finished epochs of a run."""
    text = (run / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def contents(run: Path, old: bool) -> Contents:
    """Everything of a finished run that is compared, in new names.

    Args:
        run: the run's directory.
        old: whether it was written in old names.

    Raises:
        ValueError: there are no weights or no artifacts.
    """

    def new(document: renames.Document, tree: renames.Tree) -> renames.Tree:
        return renames.to_new(document, tree) if old else tree

    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    same = {key: environment[key] for key in ("processor", "cores", "threads", "device")}
    found = leaves(same | {"torch": environment["packages"]["torch"]}, "environment.json ")
    found |= leaves({str(line["epoch"]): line for line in log(run)}, "log.jsonl ")
    documents: tuple[renames.Document, ...] = ("recipe.json", "data.json", "result.json")
    for document in documents:
        tree = json.loads((run / document).read_text(encoding="utf-8"))
        found |= leaves(new(document, tree), f"{document} ")
    for path in sorted(run.glob("*/*.safetensors")):
        file_name = f"{renames.FOLDERS.get(path.parent.name, path.parent.name)}/{path.name}"
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            for key in sorted(file.keys()):
                name = renames.TENSORS.get(key, key) if old else key
                found[f"{file_name} {name}"] = file.get_tensor(key)
        for key in metadata.keys() - NOT_COMPARED:
            tree = new("checkpoint", json.loads(metadata[key]))
            found |= leaves(tree, f"{file_name} metadata ")
    if {key.partition("/")[0] for key in found if "/" in key} != {"checkpoints", "artifacts"}:
        raise ValueError(f"{run}: weights or artifacts are missing")
    return found


def leaves(tree: renames.Tree, path: str = "") -> Contents:
    """The values of a tree by their dotted paths, without the measured ones."""
    if not isinstance(tree, dict | list) or not tree:
        return {path.removesuffix("."): tree}
    pairs = dict(tree if isinstance(tree, dict) else enumerate(tree))
    if WORDED in pairs:
        pairs[WORDED] = bool(pairs[WORDED])
    parts = (
        leaves(value, f"{path}{key}.")
        for key, value in pairs.items()
        if key not in MEASURED and (key not in OMITTED or value != OMITTED[key])
    )
    return {key: value for part in parts for key, value in part.items()}


def first_difference(old: Contents, new: Contents, added: Collection[str]) -> str | None:
    """The first thing in which two runs differ; None where every bit is the same.

    Args:
        old: the contents of one run.
        new: the contents of the other run.
        added: patterns, as of file names, of what only the other run may have.
    """
    for key in old:
        if key not in new:
            return f"{key}: only the old side has it"
        if found := _difference(old[key], new[key]):
            return f"{key}: {found}"
    for key in new:
        if key not in old and not any(fnmatchcase(key, pattern) for pattern in added):
            return f"{key}: only the new side has it"
    return None


def _difference(one: Any, other: Any) -> str | None:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        same = type(one) is type(other) and one == other
        return None if same else f"{one!r} and {other!r}"
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return f"{one.dtype} {tuple(one.shape)} and {other.dtype} {tuple(other.shape)}"
    if torch.equal(*(each.reshape(-1).view(torch.uint8) for each in (one, other))):
        return None
    apart = (one.double() - other.double()).abs()
    return f"{int((apart != 0).sum())} of {one.numel()} values, by up to {float(apart.max()):.3g}"
