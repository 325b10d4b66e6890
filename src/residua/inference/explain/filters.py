"""The filters of a network's first convolution, as images."""

from torch import Tensor

from residua.models import ResidualNetwork


def first_layer_filters(network: ResidualNetwork) -> Tensor:
    """The first convolution's filters, each rescaled from its minimum to its maximum.

    Returns:
        (filters, C, k, k) float32 in [0, 1]; a constant filter is 0.
    """
    return rescale(network.first_convolution.weight.detach())


def rescale(images: Tensor) -> Tensor:
    """Rescale filters or channels (M, C, H, W) to [0, 1], each from its minimum to its maximum."""
    values = images.float()
    low, high = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
    return (values - low) / (high - low).clamp(min=1e-12)
