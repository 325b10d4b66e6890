"""How a step finds its gradients: where the weights are, or where the loss around them is worst."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from residua.config import Config
from residua.schedules import NonNegative, TrainingProgress, value_at

Gradients = Callable[[], tuple[Tensor, Tensor]]
"""Runs the network forward and backward, the same way each time: gives loss and logits, and leaves
gradients in the weights."""


def plain_gradients(
    network: nn.Module, progress: TrainingProgress, gradients: Gradients
) -> tuple[Tensor, Tensor]:
    """The gradients where the weights are: the plain step."""
    return gradients()


class SAM(Config):
    """The gradients where the loss is worst nearby (Foret et al., arXiv:2010.01412).

    Every step runs forward and backward twice, on the same augmented images with the same dropout:
    at the weights, and a distance rho up the gradient from them. The optimiser moves the weights by
    the second gradient. Normalisation statistics are updated by the first run only; loss and
    accuracy are the first run's too.
    """

    kind: Literal["sam"] = "sam"
    rho: NonNegative = 0.05
    """The distance, in the Euclidean norm of all weights together."""

    def __call__(
        self, network: nn.Module, progress: TrainingProgress, gradients: Gradients
    ) -> tuple[Tensor, Tensor]:
        """Loss and logits at the weights; the gradients left in them are those of the worst place.

        Scaled gradients (of float16) do as well: only their direction counts.
        """
        outcome = gradients()
        moved = {weight: weight.grad for weight in network.parameters() if weight.grad is not None}
        own = [weight.detach().clone() for weight in moved]
        distance = value_at(self.rho, progress) / (get_total_norm(moved.values()) + 1e-12)
        with torch.no_grad():
            for weight, slope in moved.items():
                weight.addcmul_(slope, distance)
                weight.grad = None
        try:
            with _statistics_untouched(network):
                gradients()
        finally:
            with torch.no_grad():
                for weight, before in zip(moved, own, strict=True):
                    weight.copy_(before)
        return outcome


@contextmanager
def _statistics_untouched(network: nn.Module) -> Iterator[None]:
    """Batch normalisation by the batch, as in training, but with nothing kept of it."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
