"""Integrated gradients: how much each pixel adds to the logit of a class."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from residua.inference.explain.gradients import gradients_in_eval_mode
from residua.models import ResidualNetwork

MIN_STEPS, MAX_STEPS = 32, 256
"""Points of the path that the gradients are averaged over, at first and at most."""
MAX_RELATIVE_ERROR = 0.01
"""The number of points is doubled while completeness fails by a larger share of the difference."""
BATCH_SIZE = 64


@dataclass(frozen=True)
class Attribution:
    """What each value of an image adds to the logit of a class, compared with a baseline."""

    values: Tensor
    """(C, H, W) float32, in logits."""
    difference: float
    """The logit of the image minus that of the baseline."""
    steps: int
    """Points of the path."""

    @property
    def total(self) -> float:
        """The sum of the values, in logits; the exact integral's equals `difference`."""
        return float(self.values.double().sum())

    @property
    def error(self) -> float:
        """By how much completeness fails, in logits: |total - difference|."""
        return abs(self.total - self.difference)

    @property
    def is_complete(self) -> bool:
        """Whether the error is within 1 % of the difference, or of one logit where that is more."""
        return self.error <= MAX_RELATIVE_ERROR * max(1.0, abs(self.difference))


def integrated_gradients(
    network: ResidualNetwork,
    image: Tensor,
    target: int,
    baseline: Tensor | None = None,
    steps: int | None = None,
) -> Attribution:
    """Integrated gradients of a class's logit (Sundararajan et al., arXiv:1703.01365).

    The gradients are averaged along the straight path from a baseline to the image, by the rule of
    Gauss and Legendre, and multiplied by the difference of the two.

    Args:
        network: on the image's device; run in evaluation mode, and left in its own.
        image: (C, H, W) float32, normalized as in training.
        target: the class.
        baseline: like `image`; None takes zeros, which is the mean colour of the training set.
        steps: points of the path; None doubles them, from 32 to at most 256, until completeness
            holds to within 1 %.
    """
    start = torch.zeros_like(image) if baseline is None else baseline
    with gradients_in_eval_mode(network):
        with torch.no_grad():
            logits = network(torch.stack([image, start]))[:, target].double()
        difference = float(logits[0] - logits[1])
        count = steps or MIN_STEPS
        while True:
            gradient = _mean_gradient(network, image, start, target, count)
            attribution = Attribution((image - start) * gradient, difference, count)
            if steps or attribution.is_complete or count >= MAX_STEPS:
                return attribution
            count *= 2


def _mean_gradient(
    network: ResidualNetwork, image: Tensor, start: Tensor, target: int, steps: int
) -> Tensor:
    """The gradient of the logit, integrated over the path from start to image: (C, H, W)."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    shares = torch.as_tensor((1 + nodes) / 2, dtype=image.dtype, device=image.device)
    factors = torch.as_tensor(weights / 2, dtype=image.dtype, device=image.device)
    total = torch.zeros_like(image)
    for first in range(0, steps, BATCH_SIZE):
        share, factor = (values[first : first + BATCH_SIZE] for values in (shares, factors))
        points = (start + share[:, None, None, None] * (image - start)).requires_grad_()
        (gradients,) = torch.autograd.grad(network(points)[:, target].sum(), points)
        total += (factor[:, None, None, None] * gradients).sum(0)
    return total
