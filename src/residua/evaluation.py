"""How well a network does on a split."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from residua.augment import Normalisation
from residua.data import Split

BATCH = 500
"""Images evaluated at once: the figures do not depend on it beyond rounding."""
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
Views = Literal["single", "mirrored", "translated"]
"""What an evaluation sees of each image, logits averaged where that is more than the image."""
SEEN = {
    "mirrored": "each image and its mirror image",
    "translated": "each image, two copies shifted by a pixel, and the mirror images of all three",
}


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
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, without gradients; as it was afterwards."""
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(training)


def views_of(images: Tensor, views: Views) -> Iterator[tuple[float, Tensor]]:
    """What is seen of images (N, 3, H, W), and the weight of each view; weights sum to 1.

    `translated` is the multi-crop evaluation of Jordan, arXiv:2404.00498: half of the weight on the
    image, half on what one pixel up and left, and one pixel down and right, make of it, each also
    mirrored. What shifts in is the edge's reflection.
    """
    if views == "single":
        yield 1.0, images
        return
    shifted = []
    if views == "translated":
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        height, width = images.shape[2:]
        shifted = [padded[:, :, at : at + height, at : at + width] for at in (0, 2)]
    for share, view in ((1 if not shifted else 0.5, images), *((0.25, each) for each in shifted)):
        yield share / 2, view
        yield share / 2, view.flip(3)


def evaluate(
    forward: Callable[[Tensor], Tensor],
    split: Split,
    normalisation: Normalisation,
    precision: str = "float32",
    views: Views = "single",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Evaluation:
    """Classify every image of a split that lies on the network's device.

    Args:
        forward: (N, 3, H, W) float32 to logits (N, K), in evaluation mode.
        split: the images.
        normalisation: as in training.
        precision: of convolutions and matrix products.
        views: what is seen of each image; logits are averaged.
        memory_format: of the images.
    """
    device = split.images.device
    losses, predicted, confidence, top5 = [], [], [], []
    for start in range(0, len(split), BATCH):
        labels = split.labels[start : start + BATCH]
        batch = normalisation(split.images[start : start + BATCH]).contiguous(
            memory_format=memory_format
        )
        with torch.autocast(
            device.type, PRECISIONS.get(precision), enabled=precision in PRECISIONS
        ):
            seen = views_of(batch, views)
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
