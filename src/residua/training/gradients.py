"""The sizes of gradients, layer group by layer group, and what fixed rules say of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

VANISHED = 1e-7
"""A group whose mean gradient norm is below this learns nothing in float32."""
APART = 1e4
"""The largest norm of a group over the smallest; from here on the smallest group stands still."""
EXPLODED = 1e3
"""A group whose mean gradient norm is above this leaps."""


def norms(groups: Mapping[str, Sequence[nn.Parameter]]) -> Tensor:
    """(G,) float32: the Euclidean norm of each group's gradients together, on their device."""
    return torch.stack(
        [
            get_total_norm([weight.grad for weight in weights if weight.grad is not None])
            for weights in groups.values()
        ]
    )


def diagnosis(sizes: Mapping[str, float]) -> str | None:
    """What is wrong with an epoch's mean gradient norms, in a sentence; None where nothing is.

    Args:
        sizes: the norm of each group, before clipping.
    """
    if not sizes:
        return None
    least = min(sizes, key=lambda group: sizes[group])
    most = max(sizes, key=lambda group: sizes[group])
    if sizes[least] < VANISHED:
        return (
            f"gradients vanish in {least}: their norm of {sizes[least]:.2g} is below {VANISHED:g}"
        )
    if sizes[most] > EXPLODED:
        return (
            f"gradients explode in {most}: their norm of {sizes[most]:.2g} is above "
            f"{EXPLODED:g}; lower --optimizer.lr or set --max-grad-norm"
        )
    if sizes[most] / sizes[least] > APART:
        return (
            f"gradients vanish in {least}: their norm of {sizes[least]:.2g} is less than "
            f"1/{APART:g} of the {sizes[most]:.2g} in {most}"
        )
    return None
