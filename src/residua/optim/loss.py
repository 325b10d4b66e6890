"""The loss function."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from residua.config import Config
from residua.errors import UserError

ClassWeight = Annotated[float, Field(gt=0, le=1e6)]


class CrossEntropy(Config):
    """Cross-entropy with soft targets and label smoothing (Szegedy et al., arXiv:1512.00567)."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The part of every target that is spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] | dict[str, ClassWeight] = "none"
    """The weight of each class in the loss. `balanced` weighs classes inversely to their number of
    training images: n / (classes x images of the class), as in scikit-learn. A mapping gives
    weights by name, 1 for the others."""

    def weights(self, labels: Tensor, classes: tuple[str, ...]) -> Tensor | None:
        """The weight of each class, (K,) float32 on the CPU; None for equal weights.

        Args:
            labels: (N,) int64, of the training images, on the CPU.
            classes: their names.

        Raises:
            UserError: a weight is given for a class that does not exist.
        """
        if self.class_weights == "none":
            return None
        if self.class_weights == "balanced":
            counts = torch.bincount(labels, minlength=len(classes)).clamp(min=1)
            return (len(labels) / (len(classes) * counts.double())).float()
        if unknown := sorted(set(self.class_weights) - set(classes)):
            raise UserError(
                f"loss.class_weights: there is no class {unknown[0]!r}; choose from "
                f"{', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}"
            )
        return torch.tensor([self.class_weights.get(name, 1.0) for name in classes])

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean over the batch.

        Weighted losses are divided by the number of images, not by the sum of their weights: an
        image then counts the same in every batch, and in every part of a batch.

        Args:
            logits: (N, K).
            targets: (N, K) probabilities, or (N,) int64 classes.
            weights: (K,), of the classes, on the device of the logits.

        Returns:
            A scalar, in nats.
        """
        if weights is not None and targets.ndim == 1:
            targets = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
        return F.cross_entropy(logits, targets, weights, label_smoothing=self.label_smoothing)
