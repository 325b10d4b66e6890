"""Gradient norms by layer group, and fixed rules that diagnose them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

VANISHING_NORM = 1e-7
"""A layer group whose mean gradient norm is below this learns nothing in float32."""
VANISHING_RATIO = 1e4
"""The largest norm of a group over the smallest; above it the smallest group does not learn."""
EXPLODING_NORM = 1e3
"""A layer group whose mean gradient norm is above this takes steps that are too large."""


def gradient_norms(groups: Mapping[str, Sequence[nn.Parameter]]) -> Tensor:
    """(G,) float32: the Euclidean norm of each group's gradients together, on their device.

    Parameters without a gradient, such as frozen ones, count as 0.
    """
    norms = []
    for weights in groups.values():
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norms.append(get_total_norm(gradients).to(weights[0].device))
    return torch.stack(norms)


def diagnose_gradients(norms: Mapping[str, float]) -> str | None:
    """Describe what is wrong with an epoch's mean gradient norms; None if nothing is.

    Args:
        norms: of each layer group, before clipping.
    """
    if not norms:
        return None
    smallest = min(norms, key=lambda group: norms[group])
    largest = max(norms, key=lambda group: norms[group])
    if norms[smallest] < VANISHING_NORM:
        return (
            f"gradients vanish in {smallest}: their norm of {norms[smallest]:.2g} is below "
            f"{VANISHING_NORM:g}"
        )
    if norms[largest] > EXPLODING_NORM:
        return (
            f"gradients explode in {largest}: their norm of {norms[largest]:.2g} is above "
            f"{EXPLODING_NORM:g}; lower --optimizer.lr or set --max-grad-norm"
        )
    if norms[largest] / norms[smallest] > VANISHING_RATIO:
        return (
            f"gradients vanish in {smallest}: their norm of {norms[smallest]:.2g} is less than "
            f"1/{VANISHING_RATIO:g} of the {norms[largest]:.2g} in {largest}"
        )
    return None
