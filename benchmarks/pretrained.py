"""Make a network that the package ships from a run, and measure it on the test set.

    python benchmarks/pretrained.py RUN [NAME]

Writes src/residua/pretrained/NAME.safetensors, the same file as `residua export RUN --to
safetensors --weights bfloat16`, and NAME.json with what was measured: the figures of the shipped
file and of the run's network for each test-time augmentation. NAME is that of the recipe where it
is left out.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from residua import files, load
from residua.augment.tta import TTA
from residua.inference.classifier import load_split
from residua.inference.export import export_safetensors, real_images
from residua.inference.sources import PRETRAINED
from residua.runs.environment import RunEnvironment
from residua.runs.records import Count, JsonFile, Metrics
from residua.runs.run import Run


class Measured(JsonFile):
    """One test-time augmentation."""

    shipped: Metrics
    run: Metrics
    """Of the network with its filters in float32."""
    same_class: Count
    """Images that both give the same class."""


class PretrainedRecord(JsonFile):
    """What NAME.json says about NAME.safetensors."""

    recipe: str
    epochs: Count
    sha256: str
    """Of the file."""
    bytes: Count
    weights: str
    split: str
    tta: str
    """The test-time augmentation that is used where none is asked for."""
    measured: dict[TTA, Measured]
    trained_on: RunEnvironment


def main(words: Sequence[str] | None = None) -> None:
    """Make the two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name", nargs="?")
    arguments = parser.parse_args(words)
    run = Run.open(arguments.run)
    original = load(run, device="cpu")
    name = arguments.name or original.recipe.name
    path = PRETRAINED / f"{name}.safetensors"
    export_safetensors(original, path, real_images(original, run.path), "bfloat16")
    shipped, test = load(path, device="cpu"), load_split(original, "test")
    measured: dict[TTA, Measured] = {}
    for tta in get_args(TTA):
        ours, theirs = (model.evaluate(test, tta) for model in (shipped, original))
        same = int((ours.predicted == theirs.predicted).sum())
        measured[tta] = Measured(shipped=ours.metrics, run=theirs.metrics, same_class=same)
        print(f"{tta}: {ours.accuracy:.2f} %, run {theirs.accuracy:.2f} %, the same class {same:,}")
    content = path.read_bytes()
    record = PretrainedRecord(
        recipe=original.recipe.name,
        epochs=original.recipe.epochs,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        weights="bfloat16",
        split="test",
        tta=original.info.tta,
        measured=measured,
        trained_on=run.environment,
    )
    files.write_atomic(path.with_suffix(".json"), record.model_dump_json(indent=2) + "\n")


if __name__ == "__main__":
    main()
