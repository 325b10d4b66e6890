"""Channel and spatial attention, the last layer of a block's branch."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config


class SqueezeExcitation(Config):
    """Channel attention from the channels' means (Hu et al., arXiv:1709.01507)."""

    kind: Literal["squeeze_excitation"] = "squeeze_excitation"
    reduction: int = Field(default=16, ge=1)
    """The number of channels is divided by this to get the bottleneck's width."""

    def build(self, channels: int) -> nn.Module:
        """(N, channels, H, W) to the same shape."""
        return SEModule(channels, max(1, channels // self.reduction))


class SEModule(nn.Module):
    """Multiplies channels with a gate computed from their means."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, width)
        self.excite = nn.Linear(width, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        hidden = F.relu(self.squeeze(features.mean((2, 3))))
        return features * torch.sigmoid(self.excite(hidden))[:, :, None, None]


class CBAM(Config):
    """Channel attention, then spatial attention, from mean and maximum (arXiv:1807.06521)."""

    kind: Literal["cbam"] = "cbam"
    reduction: int = Field(default=16, ge=1)
    """The number of channels is divided by this to get the bottleneck's width."""
    kernel: Literal[3, 5, 7] = 7
    """Of the spatial attention's convolution."""

    def build(self, channels: int) -> nn.Module:
        """(N, channels, H, W) to the same shape."""
        return CBAMModule(channels, max(1, channels // self.reduction), self.kernel)


class CBAMModule(nn.Module):
    """Multiplies channels with a gate, then positions with a gate.

    The channels' means and maxima pass through the same two linear layers. The positions' mean and
    maximum over channels pass through one convolution, with a bias and without normalization.
    """

    def __init__(self, channels: int, width: int, kernel_size: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, width)
        self.excite = nn.Linear(width, channels)
        self.focus = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))])
        of_mean, of_max = self.excite(F.relu(self.squeeze(pooled))).chunk(2)
        features = features * torch.sigmoid(of_mean + of_max)[:, :, None, None]
        mean, maximum = features.mean(1, keepdim=True), features.amax(1, keepdim=True)
        return features * torch.sigmoid(self.focus(torch.cat([mean, maximum], 1)))


Attention = Annotated[SqueezeExcitation | CBAM, Field(discriminator="kind")] | None
