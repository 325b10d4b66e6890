"""TensorBoard event files of a training (extra `tensorboard`)."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.runs.artifacts import load_samples
from residua.runs.records import EpochRecord, Result
from residua.training.events import (
    CheckpointSaved,
    EpochFinished,
    Event,
    Finished,
    RolledBack,
    Started,
    Stopped,
)

try:
    from torch.utils.tensorboard import SummaryWriter
except ModuleNotFoundError:
    raise UserError(
        "tensorboard: true needs tensorboard, which is not installed: "
        "pip install 'residua[tensorboard]'"
    ) from None

DIRECTORY = "tensorboard"
"""The directory of the event files in a run."""
SCALARS = {
    "loss/train": "train_loss",
    "loss/holdout": "holdout_loss",
    "loss/test": "test_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/holdout": "holdout_accuracy",
    "accuracy/test": "test_accuracy",
    "speed/images per second": "images_per_second",
    "speed/memory, MiB": "memory_mib",
    "optimizer/learning rate": "lr",
    "optimizer/gradient norm": "grad_norm",
}
"""Tags, and fields of `EpochRecord`."""
MAX_HISTOGRAM_VALUES = 2**20
"""Of larger tensors, every n-th value is counted."""


class TensorBoardWriter:
    """An observer that writes scalars, images, histograms and hyperparameters of a training.

    `tensorboard --logdir RUN` shows them. A resumed training continues the same curves.
    """

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None
        self._recipe: Recipe | None = None

    def __call__(self, event: Event) -> None:
        """Handle an event of a training.

        Raises:
            OSError: the files cannot be written.
        """
        match event:
            case Started():
                self._open(event)
            case EpochFinished(record, _):
                self._write_epoch(record)
            case CheckpointSaved(path, step, _):
                self._write_histograms(path, step)
            case RolledBack(reason, step, _):
                self._require().add_text("rolled back", reason, step)
            case Stopped():
                self._close()
            case Finished(result):
                self._write_hyperparameters(result)
                self._close()

    def _open(self, event: Started) -> None:
        directory = event.run.path / DIRECTORY
        purge_step = event.step + 1 if event.step else None
        self._writer = SummaryWriter(str(directory), purge_step=purge_step)
        self._recipe = event.recipe
        if event.step:
            return
        text = json.dumps(event.recipe.model_dump(mode="json"), indent=4)
        self._writer.add_text("recipe", "\n".join(f"    {line}" for line in text.splitlines()), 0)
        samples = load_samples(event.run)
        if samples is not None:
            images = samples.originals.float() / 255
            augmented = samples.augmented.float() / 255
            self._writer.add_images("training images", images, 0)
            self._writer.add_images("training images, augmented", augmented, 0)

    def _write_epoch(self, record: EpochRecord) -> None:
        writer = self._require()
        for tag, field in SCALARS.items():
            value = getattr(record, field)
            if value is not None:
                writer.add_scalar(tag, value, record.step)
        for group, norm in record.grad_norms.items():
            writer.add_scalar(f"gradient norm/{group}", norm, record.step)
        writer.flush()

    def _write_histograms(self, checkpoint: Path, step: int) -> None:
        """The weights of a checkpoint, read from its file."""
        writer = self._require()
        for name, tensor in load_file(checkpoint).items():
            group, _, weight = name.partition(".")
            if group == "network" and tensor.is_floating_point() and tensor.numel() > 1:
                writer.add_histogram(f"weights/{weight}", _subsample(tensor), step)
        writer.flush()

    def _write_hyperparameters(self, result: Result) -> None:
        assert self._recipe is not None
        fields = flatten(self._recipe.model_dump(mode="json"))
        metrics = {"hparam/test accuracy": result.last.test_accuracy}
        self._require().add_hparams(fields, metrics, run_name=".")

    def _require(self) -> SummaryWriter:
        assert self._writer is not None, "the first event is Started"
        return self._writer

    def _close(self) -> None:
        self._require().close()


def flatten(tree: object, path: str = "") -> dict[str, bool | int | float | str]:
    """The values of a recipe by their dotted paths; null is the text `none`."""
    if isinstance(tree, dict):
        pairs = list(tree.items())
    elif isinstance(tree, list):
        pairs = list(enumerate(tree))
    else:
        return {path: tree if isinstance(tree, bool | int | float | str) else "none"}
    values: dict[str, bool | int | float | str] = {}
    for key, value in pairs:
        values |= flatten(value, f"{path}.{key}" if path else str(key))
    return values


def _subsample(tensor: Tensor) -> Tensor:
    values = tensor.detach().flatten().float()
    return values[:: -(-len(values) // MAX_HISTOGRAM_VALUES)].to(torch.float32)
