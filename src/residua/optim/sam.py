"""Gradients of a step: at the weights, or by sharpness-aware minimization."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from residua.config import Config
from residua.schedules import NonNegative, TrainingProgress, value_at

ComputeGradients = Callable[[], tuple[Tensor, Tensor]]
"""Runs forward and backward pass, in the same way at each call: returns loss and logits, and
leaves the gradients in the parameters."""


def plain_gradients(
    _network: nn.Module, _progress: TrainingProgress, compute_gradients: ComputeGradients
) -> tuple[Tensor, Tensor]:
    """Compute the gradients at the weights: a step without SAM."""
    return compute_gradients()


class SAM(Config):
    """Sharpness-aware minimization (Foret et al., arXiv:2010.01412).

    Every step runs forward and backward pass twice, on the same augmented images with the same
    dropout: at the weights, and at a distance of rho along the gradient. The optimiser updates the
    weights with the second gradient. Loss, accuracy and running statistics of batch normalization
    come from the first pass.
    """

    kind: Literal["sam"] = "sam"
    rho: NonNegative = 0.05
    """The distance, in the Euclidean norm of all weights together."""

    def __call__(
        self, network: nn.Module, progress: TrainingProgress, compute_gradients: ComputeGradients
    ) -> tuple[Tensor, Tensor]:
        """Compute the gradients at the perturbed weights, and restore the weights.

        Gradients that are scaled for float16 work as well: only their direction matters.

        Returns:
            Loss and logits at the original weights.
        """
        loss_and_logits = compute_gradients()
        gradients = {
            weight: weight.grad for weight in network.parameters() if weight.grad is not None
        }
        originals = [weight.detach().clone() for weight in gradients]
        scale = value_at(self.rho, progress) / (get_total_norm(gradients.values()) + 1e-12)
        with torch.no_grad():
            for weight, gradient in gradients.items():
                weight.addcmul_(gradient, scale)
                weight.grad = None
        try:
            with frozen_bn_statistics(network):
                compute_gradients()
        finally:
            with torch.no_grad():
                for weight, original in zip(gradients, originals, strict=True):
                    weight.copy_(original)
        return loss_and_logits


@contextmanager
def frozen_bn_statistics(network: nn.Module) -> Iterator[None]:
    """Use batch statistics as in training, without updating the running statistics."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
