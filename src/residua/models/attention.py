"""Attention at the end of a block's branch: what matters more, and where."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config


class SqueezeExcitation(Config):
    """Weigh channels by what the whole image shows (Hu et al., arXiv:1709.01507)."""

    kind: Literal["squeeze_excitation"] = "squeeze_excitation"
    reduction: int = Field(default=16, ge=1)
    """The channels divided by this are the bottleneck's width."""

    def build(self, channels: int) -> nn.Module:
        """(N, channels, H, W) to the same shape."""
        return SEModule(channels, max(1, channels // self.reduction))


class SEModule(nn.Module):
    """Channels times a gate computed from their means."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, width)
        self.excite = nn.Linear(width, channels)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        hidden = F.relu(self.squeeze(images.mean((2, 3))))
        return images * torch.sigmoid(self.excite(hidden))[:, :, None, None]


class CBAM(Config):
    """Weigh channels by their mean and maximum, then places by theirs (arXiv:1807.06521)."""

    kind: Literal["cbam"] = "cbam"
    reduction: int = Field(default=16, ge=1)
    """The channels divided by this are the bottleneck's width."""
    kernel: Literal[3, 5, 7] = 7
    """Of the convolution that weighs places."""

    def build(self, channels: int) -> nn.Module:
        """(N, channels, H, W) to the same shape."""
        return CBAMModule(channels, max(1, channels // self.reduction), self.kernel)


class CBAMModule(nn.Module):
    """Channels times a gate, then places times a gate.

    The channels' means and maxima go through the same two linear layers; the places' mean and
    maximum over channels through one convolution, with a bias and without normalisation.
    """

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, width)
        self.excite = nn.Linear(width, channels)
        self.focus = nn.Conv2d(2, 1, kernel, padding=kernel // 2)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        pooled = torch.cat([images.mean((2, 3)), images.amax((2, 3))])
        of_means, of_peaks = self.excite(F.relu(self.squeeze(pooled))).chunk(2)
        images = images * torch.sigmoid(of_means + of_peaks)[:, :, None, None]
        places = torch.cat([images.mean(1, keepdim=True), images.amax(1, keepdim=True)], 1)
        return images * torch.sigmoid(self.focus(places))


Attention = Annotated[SqueezeExcitation | CBAM, Field(discriminator="kind")] | None
