"""How well a network does on a split."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from residua.augment import Normalization
from residua.augment.tta import TTA, tta_views
from residua.data import Split

EVAL_BATCH_SIZE = 500
"""Images evaluated at once: the figures do not depend on it beyond rounding."""
AMP_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Evaluation:
    """The figures of one split, and what was predicted."""

    loss: float
    """Mean cross-entropy in nats, without smoothing."""
    accuracy: float
    """Top-1, in percent."""
    top5: float
    """In percent."""
    predicted: Tensor
    """(N,) int64."""
    confidence: Tensor
    """(N,) float32: the probability given to the prediction."""

    @property
    def correct(self) -> int:
        """Images classified correctly."""
        return round(self.accuracy * len(self.predicted) / 100)


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


def evaluate(
    forward: Callable[[Tensor], Tensor],
    split: Split,
    normalization: Normalization,
    precision: str = "float32",
    tta: TTA = "none",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Evaluation:
    """Classify every image of a split that lies on the network's device.

    Args:
        forward: (N, 3, H, W) float32 to logits (N, K), in evaluation mode.
        split: the images.
        normalisation: as in training.
        precision: of convolutions and matrix products.
        tta: what is seen of each image; logits are averaged.
        memory_format: of the images.
    """
    device = split.images.device
    losses, predicted, confidence, top5 = [], [], [], []
    for start in range(0, len(split), EVAL_BATCH_SIZE):
        labels = split.labels[start : start + EVAL_BATCH_SIZE]
        batch = normalization(split.images[start : start + EVAL_BATCH_SIZE]).contiguous(
            memory_format=memory_format
        )
        with torch.autocast(
            device.type, AMP_DTYPES.get(precision), enabled=precision in AMP_DTYPES
        ):
            seen = tta_views(batch, tta)
            parts = [
                share * forward(view.contiguous(memory_format=memory_format))
                for share, view in seen
            ]
            logits = torch.stack(parts).sum(0)
        losses.append(F.cross_entropy(logits, labels, reduction="sum"))
        best = logits.softmax(1).topk(min(5, logits.shape[1]))
        predicted.append(best.indices[:, 0])
        confidence.append(best.values[:, 0])
        top5.append((best.indices == labels[:, None]).any(1).sum())
    guess = torch.cat(predicted)
    return Evaluation(
        loss=float(torch.stack(losses).double().sum()) / len(split),
        accuracy=100 * int((guess == split.labels).sum()) / len(split),
        top5=100 * int(torch.stack(top5).sum()) / len(split),
        predicted=guess.cpu(),
        confidence=torch.cat(confidence).cpu(),
    )
