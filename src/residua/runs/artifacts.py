"""What a report needs of the data, stored in the run so that no reader loads the data set."""

import csv
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save
from torch import Tensor

from residua import files
from residua.data.dataset import MAX_CLASSES
from residua.data.split import Split, Splits
from residua.errors import UserError
from residua.models import ResidualNetwork
from residua.runs.records import SelectionSplit
from residua.runs.run import PREDICTIONS, Run

FILE_LIST = "files.csv"
"""The files of a data set of files: path, label, split."""
MAX_SAMPLES = 24
MAX_MISTAKES = 24
MAX_BYTES = 2**30
"""The largest file of artifacts that is read."""


@dataclass(frozen=True)
class Samples:
    """Training images before and after augmentation."""

    originals: Tensor
    """(M, C, H, W) uint8."""
    augmented: Tensor
    """(M, C, H', W') uint8: what the network saw, normalization undone."""
    labels: Tensor
    """(M,) int64."""
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_images(self.originals, len(self.labels))
        _check_images(self.augmented, len(self.labels))
        _check_indices(self.labels, len(self.classes))


@dataclass(frozen=True)
class Predictions:
    """The predictions of the last and of the best epoch's network on the selection split."""

    labels: Tensor
    """(N,) int64."""
    last: Tensor
    """(N,) int64, predicted by the last epoch's network."""
    best: Tensor
    """(N,) int64, predicted by the best epoch's network."""
    mistakes: Tensor
    """(M,) int64: indices of the best network's most confident mistakes, most confident first."""
    confidence: Tensor
    """(M,) float32: the probability of the predicted class of each mistake."""
    images: Tensor
    """(M, C, H, W) uint8: the images of the mistakes."""
    classes: tuple[str, ...]
    split: SelectionSplit = "test"

    def __post_init__(self) -> None:
        if self.split not in ("test", "holdout"):
            raise ValueError(f"{self.split!r} is not a split")
        for indices in (self.labels, self.last, self.best):
            _check_indices(indices, len(self.classes), len(self.labels))
        _check_indices(self.mistakes, len(self.labels))
        _check_images(self.images, len(self.mistakes))
        if self.confidence.shape != self.mistakes.shape or not self.confidence.isfinite().all():
            raise ValueError("each mistake needs a finite confidence")

    @classmethod
    def of(
        cls,
        split: Split,
        last: Tensor,
        best: Tensor,
        confidence: Tensor,
        name: SelectionSplit = "test",
    ) -> "Predictions":
        """Select the most confident mistakes.

        Args:
            split: the selection split.
            last: (N,) int64, predicted by the last epoch's network.
            best: (N,) int64, predicted by the best epoch's network.
            confidence: (N,) float32, of the best epoch's predictions.
            name: of the split.
        """
        labels = split.labels.cpu()
        wrong = (best != labels).nonzero().flatten()
        order = confidence[wrong].argsort(descending=True, stable=True)[:MAX_MISTAKES]
        mistakes = wrong[order]
        images = split.images[mistakes.to(split.images.device)].cpu()
        confidence = confidence[mistakes]
        return cls(labels, last, best, mistakes, confidence, images, split.classes, name)


def save_file_list(run: Run, splits: Splits) -> None:
    """Store which file is in which split, as a table that `data.path` takes; none without files."""
    named = {"train": splits.train, "val": splits.holdout, "test": splits.test}
    if not splits.train.paths:
        return
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("path", "label", "split"))
    for name, split in named.items():
        if split is not None:
            labels = (split.classes[label] for label in split.labels.tolist())
            writer.writerows(
                (path, label, name) for path, label in zip(split.paths, labels, strict=True)
            )
    content = table.getvalue().encode(errors="surrogateescape")
    files.write_atomic(run.path / FILE_LIST, content)


def save_samples(run: Run, samples: Samples) -> None:
    """Store images before and after augmentation."""
    tensors = {
        "originals": samples.originals,
        "augmented": samples.augmented,
        "labels": samples.labels,
    }
    _write(run.artifact_dir / "samples.safetensors", tensors, classes=samples.classes)


def save_predictions(run: Run, predictions: Predictions) -> None:
    """Store the predictions of the selection split."""
    tensors = {
        name: value for name, value in vars(predictions).items() if isinstance(value, Tensor)
    }
    path = run.artifact_dir / PREDICTIONS
    _write(path, tensors, classes=predictions.classes, split=predictions.split)


def save_filters(run: Run, epoch: int, network: ResidualNetwork) -> None:
    """Store the first convolution's filters as they are after an epoch; drop those of later epochs.

    So a resumed run that repeats an epoch stores each epoch once.
    """
    try:
        earlier = {key: value for key, value in load_filters(run).items() if key < epoch}
    except UserError as error:
        warnings.warn(f"{error}; starting the filters anew", stacklevel=2)
        earlier = {}
    filters = earlier | {epoch: network.first_convolution.weight.detach().half()}
    tensors = {f"epoch-{key:04d}": value for key, value in filters.items()}
    _write(run.artifact_dir / "filters.safetensors", tensors)


def load_samples(run: Run) -> Samples | None:
    """The stored samples; None where there are none."""
    return _read(run.artifact_dir / "samples.safetensors", Samples)


def load_predictions(run: Run) -> Predictions | None:
    """The stored predictions; None while the run is unfinished."""
    return _read(run.artifact_dir / PREDICTIONS, Predictions)


def load_filters(run: Run) -> dict[int, Tensor]:
    """The first convolution's filters, (filters, C, k, k) float16, by the number of epochs done."""
    return _read(run.artifact_dir / "filters.safetensors", _filters_by_epoch) or {}


def _filters_by_epoch(classes: tuple[str, ...], **tensors: Tensor) -> dict[int, Tensor]:
    filters = {int(name.removeprefix("epoch-")): value for name, value in tensors.items()}
    for value in filters.values():
        valid = value.ndim == 4 and value.shape[1] in (1, 3) and value.numel() and not classes
        if not valid or value.dtype != torch.float16:
            raise ValueError(f"{value.dtype} {tuple(value.shape)} are not filters")
    return dict(sorted(filters.items()))


def _check_images(images: Tensor, count: int) -> None:
    """Raises ValueError for anything but `count` images that can be shown."""
    valid = images.ndim == 4 and len(images) == count and images.shape[1] in (1, 3)
    valid = valid and min(images.shape[2:]) > 0
    if images.dtype != torch.uint8 or not valid:
        raise ValueError(f"{images.dtype} {tuple(images.shape)} are not {count} images")


def _check_indices(indices: Tensor, end: int, count: int | None = None) -> None:
    """Raises ValueError for anything but `count` indices from 0 to `end`."""
    valid = indices.ndim == 1 and len(indices) == (len(indices) if count is None else count)
    if indices.dtype != torch.int64 or not valid or ((indices < 0) | (indices >= end)).any():
        raise ValueError(f"{indices.dtype} {tuple(indices.shape)} are not indices below {end}")


def _write(
    path: Path,
    tensors: dict[str, Tensor],
    classes: tuple[str, ...] = (),
    split: SelectionSplit = "test",
) -> None:
    on_cpu = {
        name: value.cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    # One entry: several have no order, and the bytes of two equal files would differ.
    metadata = {"classes": json.dumps(classes)}
    if split != "test":
        metadata = {"description": json.dumps({"classes": classes, "split": split})}
    files.write_atomic(path, save(on_cpu, metadata))


Kind = TypeVar("Kind")


def _read(path: Path, kind: Callable[..., Kind]) -> Kind | None:
    if not path.is_file():
        return None
    try:
        tensors, metadata = files.read_safetensors(path, MAX_BYTES)
        if "description" in metadata:
            description = dict(files.check_tree_size(json.loads(metadata["description"])))
        else:
            description = {"classes": files.check_tree_size(json.loads(metadata["classes"]))}
        classes = description.pop("classes")
        if not all(isinstance(name, str) for name in classes) or len(classes) > MAX_CLASSES:
            raise ValueError(f"classes must be at most {MAX_CLASSES:,} names")
        return kind(**tensors, classes=tuple(classes), **description)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
