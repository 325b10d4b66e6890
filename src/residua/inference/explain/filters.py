"""The filters of a network's first convolution, as images."""

from torch import Tensor

from residua.models import ResidualNetwork


def first_layer_filters(network: ResidualNetwork) -> Tensor:
    """The first convolution's filters, each rescaled from its minimum to its maximum.

    Returns:
        (filters, 3, k, k) float32 in [0, 1]; a constant filter is 0.
    """
    return rescale_filters(network.first_convolution.weight.detach())


def rescale_filters(filters: Tensor) -> Tensor:
    """Rescale filters (filters, 3, k, k) to [0, 1], each from its minimum to its maximum."""
    weights = filters.float()
    low, high = weights.amin((1, 2, 3), keepdim=True), weights.amax((1, 2, 3), keepdim=True)
    return (weights - low) / (high - low).clamp(min=1e-12)
