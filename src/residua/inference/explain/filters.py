"""The filters of a network's first layer, as pictures."""

from torch import Tensor

from residua.models import ResidualNetwork


def first_layer_filters(network: ResidualNetwork) -> Tensor:
    """The first convolution's filters, each stretched from its own minimum to its own maximum.

    Returns:
        (filters, 3, k, k) float32 in [0, 1]; a constant filter is 0.
    """
    return stretched(network.first_convolution.weight.detach())


def stretched(filters: Tensor) -> Tensor:
    """Filters (filters, 3, k, k), each from its own minimum to its own maximum, in [0, 1]."""
    weights = filters.float()
    low, high = weights.amin((1, 2, 3), keepdim=True), weights.amax((1, 2, 3), keepdim=True)
    return (weights - low) / (high - low).clamp(min=1e-12)
