"""Normalization of images, as a module that is saved with the network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from residua.data import ChannelStats


class Normalize(nn.Module):
    """Normalize each channel to mean 0 and standard deviation 1.

    Args:
        mean: the mean of each channel, for values in [0, 1].
        std: the standard deviation of each channel, for values in [0, 1]; 0 counts as 1.
    """

    mean: Tensor
    std: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.stats = ChannelStats(mean=mean, std=std)
        std = tuple(value or 1.0 for value in std)
        # (x / 255 - mean) / std as one multiply-add, whose factors are rounded only once, from
        # float64. They are saved too: from the rounded `mean` and `std` they could differ.
        scale = [1 / (255 * value) for value in std]
        shift = [-m / s for m, s in zip(mean, std, strict=True)]
        self.register_buffer("mean", _channels(mean))
        self.register_buffer("std", _channels(std))
        self.register_buffer("scale", _channels(scale))
        self.register_buffer("shift", _channels(shift))

    @classmethod
    def from_stats(cls, stats: ChannelStats) -> "Normalize":
        """Create the normalization with these channel statistics."""
        return cls(stats.mean, stats.std)

    def forward(self, images: Tensor) -> Tensor:
        """Normalize images (N, C, H, W), uint8 or float32 in [0, 255], to float32."""
        return torch.addcmul(self.shift, images.float(), self.scale)

    def undo(self, images: Tensor) -> Tensor:
        """Convert normalized images (N, C, H, W) back to uint8."""
        return ((images * self.std + self.mean) * 255).round().clamp(0, 255).byte()


def _channels(values: Sequence[float]) -> Tensor:
    """(C, 1, 1) float32."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
