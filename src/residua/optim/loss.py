"""The loss function."""

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from residua.config import Config


class CrossEntropy(Config):
    """Cross-entropy with soft targets and label smoothing (Szegedy et al., arXiv:1512.00567)."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The part of every target that is spread evenly over all classes."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch.

        Args:
            logits: (N, K).
            targets: (N, K) probabilities, or (N,) int64 classes.

        Returns:
            A scalar, in nats.
        """
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
