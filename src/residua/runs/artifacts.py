"""What a report needs of the data, kept in the run so that no reader has to load the data."""

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
from residua.data import Split
from residua.errors import UserError
from residua.inference.evaluation import Evaluation
from residua.models import ResidualNetwork
from residua.runs.run import Run
from residua.training.session import TrainingSession
from residua.training.state import TrainingState

SAMPLES = 24
MISTAKES = 24
LARGEST = 2**30
"""Bytes of a file of evidence, and names of classes, that are read."""
CLASSES = 10_000


@dataclass(frozen=True)
class Samples:
    """Training images before and after augmentation."""

    originals: Tensor
    """(M, 3, H, W) uint8."""
    augmented: Tensor
    """(M, 3, H', W') uint8: what the network saw, normalisation undone."""
    labels: Tensor
    """(M,) int64."""
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        _see_images(self.originals, len(self.labels))
        _see_images(self.augmented, len(self.labels))
        _see_places(self.labels, len(self.classes))


@dataclass(frozen=True)
class Predictions:
    """What the last and the best epoch's network said of the test set."""

    labels: Tensor
    """(N,) int64."""
    last: Tensor
    """(N,) int64, predicted by the last epoch's network."""
    best: Tensor
    """(N,) int64, predicted by the best epoch's network."""
    mistakes: Tensor
    """(M,) int64: the best network's most confident mistakes, most confident first."""
    confidence: Tensor
    """(M,) float32: how sure it was of them."""
    images: Tensor
    """(M, 3, H, W) uint8: their images."""
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for each in (self.labels, self.last, self.best):
            _see_places(each, len(self.classes), len(self.labels))
        _see_places(self.mistakes, len(self.labels))
        _see_images(self.images, len(self.mistakes))
        if self.confidence.shape != self.mistakes.shape or not self.confidence.isfinite().all():
            raise ValueError("each mistake has a confidence")


def _see_images(images: Tensor, count: int) -> None:
    """Raises ValueError for anything but `count` images that can be shown."""
    fits = images.ndim == 4 and images.shape[:2] == (count, 3) and min(images.shape[2:]) > 0
    if images.dtype != torch.uint8 or not fits:
        raise ValueError(f"{images.dtype} {tuple(images.shape)} are not {count} images")


def _see_places(places: Tensor, end: int, count: int | None = None) -> None:
    """Raises ValueError for anything but `count` places from 0 to `end`."""
    fits = places.ndim == 1 and len(places) == (len(places) if count is None else count)
    if places.dtype != torch.int64 or not fits or ((places < 0) | (places >= end)).any():
        raise ValueError(f"{places.dtype} {tuple(places.shape)} are not places below {end}")


Kind = TypeVar("Kind")


def draw_samples(session: TrainingSession, state: TrainingState) -> Samples:
    """Augment the first training images as the training's first step does.

    Raises:
        UserError: the augmentation does not go with images of this size.
    """
    split = session.splits.train
    indices = torch.arange(min(SAMPLES, len(split)), device=session.device)
    images, _ = session.make_batch(session.batch_random(indices, state))
    mean, std = (
        torch.tensor(values, device=session.device)[:, None, None]
        for values in session.pipeline.normalization
    )
    augmented = ((images * std + mean) * 255).round().clamp(0, 255).byte()
    return Samples(split.images[indices], augmented, split.labels[indices], split.classes)


def save_samples(run: Run, drawn: Samples) -> None:
    """Keep images before and after augmentation."""
    tensors = {
        "originals": drawn.originals,
        "augmented": drawn.augmented,
        "labels": drawn.labels,
    }
    _write(run.artifacts / "samples.safetensors", tensors, drawn.classes)


def save_predictions(run: Run, test: Split, last: Evaluation, best: Evaluation) -> None:
    """Keep the predictions of the test set, and the images of the most confident mistakes."""
    labels = test.labels.cpu()
    wrong = (best.predicted != labels).nonzero().flatten()
    order = best.confidence[wrong].argsort(descending=True, stable=True)[:MISTAKES]
    mistakes = wrong[order]
    tensors = {
        "labels": labels,
        "last": last.predicted,
        "best": best.predicted,
        "mistakes": mistakes,
        "confidence": best.confidence[mistakes],
        "images": test.images[mistakes.to(test.images.device)],
    }
    _write(run.artifacts / "predictions.safetensors", tensors, test.classes)


def save_filters(run: Run, epoch: int, network: ResidualNetwork) -> None:
    """Keep the first convolution's filters as they are after an epoch; those of later ones go.

    A resumed run that repeats an epoch so keeps each epoch once.
    """
    try:
        before = {key: value for key, value in filters(run).items() if key < epoch}
    except UserError as error:
        warnings.warn(f"{error}; the filters are kept anew", stacklevel=2)
        before = {}
    now = before | {epoch: network.first_convolution.weight.detach().half()}
    tensors = {f"epoch-{key:04d}": value for key, value in now.items()}
    _write(run.artifacts / "filters.safetensors", tensors)


def samples(run: Run) -> Samples | None:
    """The kept samples, or None where there are none."""
    return _read(run.artifacts / "samples.safetensors", Samples)


def predictions(run: Run) -> Predictions | None:
    """The kept predictions, or None while the run is unfinished."""
    return _read(run.artifacts / "predictions.safetensors", Predictions)


def filters(run: Run) -> dict[int, Tensor]:
    """The first convolution's filters, (filters, 3, k, k) float16, by epochs finished before."""
    return _read(run.artifacts / "filters.safetensors", _by_epoch) or {}


def _by_epoch(classes: tuple[str, ...], **tensors: Tensor) -> dict[int, Tensor]:
    kept = {int(name.removeprefix("epoch-")): value for name, value in tensors.items()}
    for value in kept.values():
        fits = value.ndim == 4 and value.shape[1] == 3 and value.numel() and not classes
        if not fits or value.dtype != torch.float16:
            raise ValueError(f"{value.dtype} {tuple(value.shape)} are no filters")
    return dict(sorted(kept.items()))


def _write(path: Path, tensors: dict[str, Tensor], classes: tuple[str, ...] = ()) -> None:
    on_cpu = {
        name: value.cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    files.write_atomic(path, save(on_cpu, {"classes": json.dumps(classes)}))


def _read(path: Path, kind: Callable[..., Kind]) -> Kind | None:
    if not path.is_file():
        return None
    try:
        tensors, said = files.read_safetensors(path, LARGEST)
        classes = json.loads(said["classes"])
        if not all(isinstance(each, str) for each in classes) or len(classes) > CLASSES:
            raise ValueError(f"classes are at most {CLASSES:,} names")
        return kind(**tensors, classes=tuple(classes))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
