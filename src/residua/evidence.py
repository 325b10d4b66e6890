"""What a report needs of the data, kept in the run so that no reader has to load the data."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from residua.data import Split
from residua.errors import UserError
from residua.evaluation import Evaluation
from residua.models import ResidualNetwork
from residua.run import Run
from residua.setting import Setting
from residua.state import State

SAMPLES = 24
MISTAKES = 24


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


def draw_samples(setting: Setting, state: State) -> Samples:
    """Augment the first training images as the training's first step does.

    Raises:
        UserError: the augmentation does not go with images of this size.
    """
    split = setting.splits.train
    indices = torch.arange(min(SAMPLES, len(split)), device=setting.device)
    images, _ = setting.augmented(setting.draw(indices, state))
    mean, std = (
        torch.tensor(values, device=setting.device)[:, None, None]
        for values in setting.pipeline.normalisation
    )
    augmented = ((images * std + mean) * 255).round().clamp(0, 255).byte()
    return Samples(split.images[indices], augmented, split.labels[indices], split.classes)


def keep_samples(run: Run, drawn: Samples) -> None:
    """Keep images before and after augmentation."""
    tensors = {
        "originals": drawn.originals,
        "augmented": drawn.augmented,
        "labels": drawn.labels,
    }
    _write(run.evidence / "samples.safetensors", tensors, drawn.classes)


def keep_predictions(run: Run, test: Split, last: Evaluation, best: Evaluation) -> None:
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
    _write(run.evidence / "predictions.safetensors", tensors, test.classes)


def keep_filters(run: Run, epoch: int, network: ResidualNetwork) -> None:
    """Keep the first convolution's filters as they are after an epoch; those of later ones go.

    A resumed run that repeats an epoch so keeps each epoch once.
    """
    before = {key: value for key, value in filters(run).items() if key < epoch}
    now = before | {epoch: network.first_convolution.weight.detach().half()}
    tensors = {f"epoch-{key:04d}": value for key, value in now.items()}
    _write(run.evidence / "filters.safetensors", tensors)


def samples(run: Run) -> Samples | None:
    """The kept samples, or None where there are none."""
    found = _read(run.evidence / "samples.safetensors")
    return Samples(**found[0], classes=found[1]) if found else None


def predictions(run: Run) -> Predictions | None:
    """The kept predictions, or None while the run is unfinished."""
    found = _read(run.evidence / "predictions.safetensors")
    return Predictions(**found[0], classes=found[1]) if found else None


def filters(run: Run) -> dict[int, Tensor]:
    """The first convolution's filters, (filters, 3, k, k) float16, by epochs finished before."""
    found = _read(run.evidence / "filters.safetensors")
    kept = {int(name.removeprefix("epoch-")): value for name, value in (found or ({},))[0].items()}
    return dict(sorted(kept.items()))


def _write(path: Path, tensors: dict[str, Tensor], classes: tuple[str, ...] = ()) -> None:
    partial = path.with_name(f".{path.name}.partial")
    on_cpu = {
        name: value.cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    save_file(on_cpu, partial, {"classes": json.dumps(classes)})
    partial.replace(path)


def _read(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            classes = json.loads((file.metadata() or {})["classes"])
            return {name: file.get_tensor(name) for name in file.keys()}, tuple(classes)  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
