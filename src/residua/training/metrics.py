"""The figures of the running epoch, summed on the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FIXED = 5
"""Entries of `EpochMetrics.totals` before those of the layer groups."""


@dataclass(frozen=True)
class EpochTotals:
    """The sums of an epoch, as Python numbers."""

    loss: float
    """Loss times images, summed."""
    correct: float
    images: float
    grad_norm: float
    """Norms of the whole gradient, summed over steps."""
    last_loss: float
    group_norms: dict[str, float]
    """The same for each layer group."""


class EpochMetrics:
    """Sums over the steps of an epoch; adding a step does not wait for the device.

    Every rank has the sums over all ranks: the figures of a step are reduced before they are added.

    Args:
        groups: names of the layer groups whose gradient norms are summed.
        device: where the sums are.
    """

    def __init__(self, groups: Sequence[str], device: torch.device) -> None:
        self.groups = tuple(groups)
        self.totals = torch.zeros(FIXED + len(self.groups), device=device)
        """(5 + groups,) float32: loss x images, correct, images, gradient norm, last loss; then the
        gradient norm of each layer group. All are sums, but for the last loss."""

    @torch.no_grad()
    def add(
        self, loss: Tensor, correct: Tensor, images: int, grad_norm: Tensor, group_norms: Tensor
    ) -> None:
        """Add a step.

        Args:
            loss: scalar, the batch's mean.
            correct: scalar, images classified correctly.
            images: of the batch.
            grad_norm: scalar, of the whole gradient.
            group_norms: (groups,).
        """
        self.totals[FIXED - 1].zero_()
        count = torch.full_like(loss, images)
        step = torch.stack([loss * images, correct, count, grad_norm, loss]).float()
        self.totals += torch.cat([step, group_norms])

    def reset(self) -> None:
        """Start a new epoch."""
        self.totals.zero_()

    def read(self) -> EpochTotals:
        """The sums so far; waits for the device."""
        loss, correct, images, grad_norm, last_loss, *norms = self.totals.tolist()
        group_norms = dict(zip(self.groups, norms, strict=True))
        return EpochTotals(loss, correct, images, grad_norm, last_loss, group_norms)

    @property
    def loss(self) -> float:
        """The mean over the images so far, in nats; waits for the device."""
        return float(self.totals[0] / self.totals[2])

    @property
    def accuracy(self) -> float:
        """Of the images so far, in percent; waits for the device."""
        return 100 * float(self.totals[1] / self.totals[2])

    @property
    def last_loss(self) -> float:
        """Of the last batch; waits for the device."""
        return float(self.totals[FIXED - 1])

    def is_finite(self) -> bool:
        """Whether every loss and gradient so far was finite; waits for the device."""
        return bool(self.totals.isfinite().all())

    def loss_is_finite(self) -> bool:
        """Whether every loss so far was finite; waits for the device."""
        return bool(self.totals[0].isfinite())
