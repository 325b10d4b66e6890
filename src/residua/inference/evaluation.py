"""The figures of a network on a split."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from residua.augment.tta import TTA, tta_views
from residua.data import Split
from residua.devices import is_out_of_memory, tf32
from residua.distributed import World
from residua.runs.evaluations import Outputs
from residua.runs.records import Metrics

EVAL_BATCH_SIZE = 500
"""Images evaluated at once, or fewer where memory does not suffice: a matter of rounding."""
BATCH_MULTIPLE = 4
"""Rows that the matrix product of the last layer computes together: see `batch_logits`."""
AMP_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
StopCheck = Callable[[], None]
"""Called before each batch; raises `EvaluationInterrupted` to end the evaluation."""
Result = TypeVar("Result")


class EvaluationInterrupted(Exception):
    """A stop was requested during an evaluation."""


def never_stop() -> None:
    """The `StopCheck` of an evaluation that is never interrupted."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of one split, and the predictions."""

    loss: float
    """Mean cross-entropy in nats, without smoothing."""
    accuracy: float
    """Top-1, in percent."""
    top5: float
    """In percent."""
    predicted: Tensor
    """(N,) int64, on the CPU."""
    confidence: Tensor
    """(N,) float32, on the CPU: the probability of the predicted class."""

    @property
    def correct(self) -> int:
        """Images classified correctly."""
        return round(self.accuracy * len(self.predicted) / 100)

    @property
    def metrics(self) -> Metrics:
        """The figures alone."""
        return Metrics(
            loss=self.loss, accuracy=self.accuracy, top5=self.top5, images=len(self.predicted)
        )


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, without gradients; as it was afterwards."""
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(training)


def view_logits(
    forward: Callable[[Tensor], Tensor],
    images: Tensor,
    precision: str = "float32",
    tta: TTA = "none",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> tuple[list[float], Tensor]:
    """The weight of each view of a batch, and its weighted logits (views, N, K).

    Args:
        forward: (N, 3, H, W) float32 to logits (N, K).
        images: (N, 3, H, W) float32, normalized.
        precision: of convolutions and matrix products.
        tta: the test-time augmentation; the first view is the images themselves.
        memory_format: of the images.
    """
    dtype = AMP_DTYPES.get(precision)
    images = images.contiguous(memory_format=memory_format)
    autocast = torch.autocast(images.device.type, dtype, enabled=dtype is not None)
    with tf32(precision == "tf32"), autocast:
        views = [
            (weight, weight * forward(view.contiguous(memory_format=memory_format)))
            for weight, view in tta_views(images, tta)
        ]
    return [weight for weight, _ in views], torch.stack([logits for _, logits in views])


@torch.inference_mode()
def compute_logits(
    forward: Callable[[Tensor], Tensor],
    images: Tensor,
    precision: str = "float32",
    tta: TTA = "none",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Logits (N, K) of a batch, averaged over its test-time augmentations.

    Args:
        forward: (N, C, H, W) float32 to logits (N, K), in evaluation mode.
        images: (N, C, H, W) float32, normalized.
        precision: of convolutions and matrix products.
        tta: the test-time augmentation.
        memory_format: of the images.
    """
    _, logits = view_logits(forward, images, precision, tta, memory_format)
    return logits.sum(0)


def batch_logits(
    forward: Callable[[Tensor], Tensor],
    images: Tensor,
    normalize: Callable[[Tensor], Tensor],
    precision: str = "float32",
    tta: TTA = "none",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Logits (N, K) of uint8 images (N, 3, H, W), which hardly depend on the number of images.

    Matrix libraries for CPUs multiply the last rows of a batch by another kernel, which rounds
    differently, where the number of rows is not a multiple of `BATCH_MULTIPLE`. Therefore the last
    image is repeated up to such a number; a picture alone then gets the answer that it gets in a
    batch, but for a last bit of test-time augmentation and of attention.

    The other arguments are those of `compute_logits`.
    """
    padded = normalize(_padded(images))
    return compute_logits(forward, padded, precision, tta, memory_format)[: len(images)]


def _padded(images: Tensor) -> Tensor:
    missing = -len(images) % BATCH_MULTIPLE
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing else images


@torch.inference_mode()
def evaluate_split(
    forward: Callable[[Tensor], Tensor],
    split: Split,
    normalize: Callable[[Tensor], Tensor],
    precision: str = "float32",
    tta: TTA = "none",
    memory_format: torch.memory_format = torch.contiguous_format,
    check_stop: StopCheck = never_stop,
    world: World | None = None,
) -> Evaluation:
    """Classify every image of a split that is on the network's device.

    Ranks take batches in turn. The batches, and so all figures, are those of a single process.

    Args:
        forward: (N, C, H, W) float32 to logits (N, K), in evaluation mode.
        split: the images.
        normalize: (N, C, H, W) uint8 to float32, as in training.
        precision: of convolutions and matrix products.
        tta: the test-time augmentation; logits are averaged.
        memory_format: of the images.
        check_stop: called before each batch.
        world: the ranks that share the images; all of them get the figures. Left out: this process.

    Raises:
        EvaluationInterrupted: by `check_stop`.
    """
    world, count = world or World(), len(split)
    # Filled by the rank that computes a batch, and 0 on the others: their sums are the values.
    losses = split.images.new_zeros(-(-count // EVAL_BATCH_SIZE), dtype=torch.float32)
    predicted = torch.zeros_like(split.labels)
    confidence = split.images.new_zeros(count, dtype=torch.float32)
    top5 = torch.zeros_like(split.labels[0])

    def classify(images: Tensor) -> Tensor:
        return batch_logits(forward, images, normalize, precision, tta, memory_format)

    for part, logits in _in_batches(classify, split, check_stop, world):
        labels = split.labels[part]
        losses[part.start // EVAL_BATCH_SIZE] += F.cross_entropy(logits, labels, reduction="sum")
        best = logits.softmax(1).topk(min(5, logits.shape[1]))
        predicted[part] = best.indices[:, 0]
        confidence[part] = best.values[:, 0]
        top5 += (best.indices == labels[:, None]).any(1).sum()
    for values in (losses, predicted, confidence, top5):
        world.all_reduce(values)
    return Evaluation(
        loss=float(losses.double().sum()) / count,
        accuracy=100 * int((predicted == split.labels).sum()) / count,
        top5=100 * int(top5) / count,
        predicted=predicted.cpu(),
        confidence=confidence.cpu(),
    )


@torch.inference_mode()
def collect_outputs(
    forward: Callable[[Tensor], Tensor],
    split: Split,
    normalize: Callable[[Tensor], Tensor],
    precision: str = "float32",
    tta: TTA = "none",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Outputs:
    """The logits of every image of a split, in one pass.

    The arguments are those of `evaluate_split`. The image itself is one of the views of each
    test-time augmentation, so its logits cost nothing more.
    """
    single, averaged = [], []

    def classify(images: Tensor) -> tuple[Tensor, Tensor]:
        padded = normalize(_padded(images))
        weights, logits = view_logits(forward, padded, precision, tta, memory_format)
        logits = logits[:, : len(images)]
        return logits[0] / weights[0], logits.sum(0)

    for _, (alone, mean) in _in_batches(classify, split, never_stop, World()):
        single.append(alone)
        averaged.append(mean)
    return Outputs(
        labels=split.labels.cpu(),
        logits=torch.cat(single).float().cpu(),
        averaged=None if tta == "none" else torch.cat(averaged).float().cpu(),
    )


def _in_batches(
    classify: Callable[[Tensor], Result], split: Split, check_stop: StopCheck, world: World
) -> Iterator[tuple[slice, Result]]:
    """Where each batch is, and what `classify` gives for its images (N, 3, H, W) uint8.

    Ranks take batches in turn, and check together whether to stop.
    """
    batch_size = EVAL_BATCH_SIZE
    for first in range(0, len(split), EVAL_BATCH_SIZE * world.size):
        check_stop()
        start = first + world.rank * EVAL_BATCH_SIZE
        stop = min(start + EVAL_BATCH_SIZE, len(split))
        while start < stop:
            part = slice(start, min(start + batch_size, stop))
            try:
                result = classify(split.images[part])
            except RuntimeError as error:
                if batch_size == 1 or not is_out_of_memory(error):
                    raise
                batch_size //= 2
                continue
            start = part.stop
            yield part, result
