"""Normalization of images, as a module: it is saved with the network that was trained with it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from residua.data import ChannelStats


class Normalize(nn.Module):
    """Pixels to mean 0 and deviation 1 for each channel.

    Args:
        mean: of each channel, in units of [0, 1].
        std: of each channel, in units of [0, 1]; a deviation of 0 counts as 1.
    """

    mean: Tensor
    std: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.stats = ChannelStats(mean=mean, std=std)
        deviations = [deviation or 1.0 for deviation in std]
        # Rounded once, from Python's doubles: (x / 255 - mean) / std as one multiply-add.
        scale = [1 / (255 * deviation) for deviation in deviations]
        shift = [-m / deviation for m, deviation in zip(mean, deviations, strict=True)]
        self.register_buffer("mean", _column(mean))
        self.register_buffer("std", _column(std))
        self.register_buffer("scale", _column(scale), persistent=False)
        self.register_buffer("shift", _column(shift), persistent=False)

    @classmethod
    def from_stats(cls, stats: ChannelStats) -> "Normalize":
        """The normalization by these channel statistics."""
        return cls(stats.mean, stats.std)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8, or float32 in [0, 255], to float32 of the same shape."""
        return torch.addcmul(self.shift, images.float(), self.scale)

    def undo(self, images: Tensor) -> Tensor:
        """(N, C, H, W) normalized float32 back to uint8 pixels."""
        return ((images * self.std + self.mean) * 255).round().clamp(0, 255).byte()


def _column(values: Sequence[float]) -> Tensor:
    """(C, 1, 1) float32."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
