"""What comes before the first block."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.models.blocks import LayerFactory
from residua.models.layers import Dropout, convolution
from residua.schedules import Probability

PATCHES_OF = 5000
"""Images whose patches a whitening is fitted to."""


class ConvStem(Config):
    """A convolution, normalised and activated or not."""

    kind: Literal["conv"] = "conv"
    width: int = Field(default=64, ge=1, le=2**16)
    kernel: Literal[1, 3, 5, 7] = 3
    norm: bool = True
    """Whether normalisation and activation follow; not, where the first block begins with them."""
    dropout: Probability = 0.0
    """Of whole channels, after the activation."""

    @property
    def channels(self) -> int:
        """Of the output."""
        return self.width

    def build(self, style: LayerFactory) -> nn.Module:
        """(N, 3, H, W) to (N, width, H, W)."""
        parts: list[nn.Module] = [convolution(3, self.width, self.kernel)]
        if self.norm:
            parts += [style.norm(self.width), style.activate()]
        if self.dropout != 0:
            parts.append(Dropout(self.dropout, channels=True))
        return nn.Sequential(*parts)


class WhiteningStem(Config):
    """A frozen convolution whose filters whiten the training set's patches, then activated.

    The filters are the patches' principal axes, each divided by its deviation, with both signs:
    Page, How to Train Your ResNet 8 (https://www.myrtle.ai/how-to-train-your-resnet-8-bag-of-tricks/);
    frozen by Jordan, arXiv:2404.00498.
    """

    kind: Literal["whitening"] = "whitening"
    kernel: Literal[2, 3] = 2
    """The side of a patch; there is no padding."""
    epsilon: float = Field(default=5e-4, gt=0)
    """Added to the variances."""

    @property
    def channels(self) -> int:
        """Of the output: both signs of every axis."""
        return 2 * 3 * self.kernel**2

    def build(self, style: LayerFactory) -> nn.Module:
        """(N, 3, H, W) to (N, channels, H - kernel + 1, W - kernel + 1)."""
        return nn.Sequential(WhiteningConv(self.kernel, self.epsilon), style.activate())


class WhiteningConv(nn.Conv2d):
    """The whitening convolution; `fit` gives it its filters."""

    def __init__(self, kernel: int, epsilon: float) -> None:
        super().__init__(3, 2 * 3 * kernel**2, kernel, bias=False)
        self.weight.requires_grad_(False)
        self.epsilon = epsilon

    @torch.no_grad()
    def init_from_patches(self, images: Tensor) -> None:
        """Whiten the patches of normalised images (N, 3, H, W)."""
        side = self.kernel_size[0]
        patches = images.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5)
        rows = patches.reshape(-1, 3 * side**2).double()
        variances, axes = torch.linalg.eigh(rows.T @ rows / len(rows))
        filters = (axes / (variances + self.epsilon).sqrt()).T.reshape(-1, 3, side, side)
        self.weight.copy_(torch.cat([filters, -filters]))


def init_whitening(network: nn.Module, images: Tensor) -> None:
    """Give the layers that are made from the data what they are made from.

    Args:
        network: the network.
        images: (N, 3, H, W) float32, normalised training images; the first ones are used.
    """
    for module in network.modules():
        if isinstance(module, WhiteningConv):
            module.init_from_patches(images[:PATCHES_OF])


AnyStem = Annotated[ConvStem | WhiteningStem, Field(discriminator="kind")]
