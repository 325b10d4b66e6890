"""Stems: the layers before the first block."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.models.blocks import LayerFactory
from residua.models.layers import Dropout, ScheduledModule, convolution
from residua.schedules import Probability, TrainingProgress

WHITENING_IMAGES = 5000
"""The number of training images whose patches the whitening layer is computed from."""


class ConvStem(Config):
    """A convolution, with or without normalization and activation."""

    kind: Literal["conv"] = "conv"
    width: int = Field(default=64, ge=1, le=2**16)
    """Output channels."""
    kernel: Literal[1, 3, 5, 7] = 3
    norm: bool = True
    """Whether normalization and activation follow; not needed before pre-activation blocks."""
    dropout: Probability = 0.0
    """Of whole channels, after the activation."""

    def out_channels(self, in_channels: int) -> int:  # noqa: ARG002
        """The number of output channels for images with this many channels."""
        return self.width

    def build(self, layers: LayerFactory, in_channels: int) -> nn.Module:
        """(N, in_channels, H, W) to (N, width, H, W)."""
        modules: list[nn.Module] = [convolution(in_channels, self.width, self.kernel)]
        if self.norm:
            modules += layers.build_norm_act(self.width)
        if self.dropout != 0:
            modules.append(Dropout(self.dropout, channels=True))
        return nn.Sequential(*modules)


class WhiteningStem(Config):
    """A frozen convolution that whitens the training images' patches, and an activation.

    The filters are the patches' principal axes, each divided by its standard deviation, with both
    signs: Page, How to Train Your ResNet 8
    (https://www.myrtle.ai/how-to-train-your-resnet-8-bag-of-tricks/); frozen by Jordan,
    arXiv:2404.00498.
    """

    kind: Literal["whitening"] = "whitening"
    kernel: Literal[2, 3] = 2
    """The side of a patch; there is no padding."""
    epsilon: float = Field(default=5e-4, gt=0)
    """Added to the variances."""
    bias_epochs: int = Field(default=0, ge=0)
    """Epochs in which a bias of the convolution is trained, before it is frozen; 0: no bias."""

    def out_channels(self, in_channels: int) -> int:
        """The number of output channels: two for every principal axis."""
        return 2 * in_channels * self.kernel**2

    def build(self, layers: LayerFactory, in_channels: int) -> nn.Module:
        """(N, in_channels, H, W) to (N, out_channels, H - kernel + 1, W - kernel + 1)."""
        conv = WhiteningConv(in_channels, self.kernel, self.epsilon, self.bias_epochs)
        return nn.Sequential(conv, layers.build_activation())


class WhiteningConv(ScheduledModule, nn.Conv2d):
    """The whitening convolution; `init_from_images` computes its filters."""

    def __init__(
        self, in_channels: int, kernel_size: int, epsilon: float, bias_epochs: int = 0
    ) -> None:
        out_channels = 2 * in_channels * kernel_size**2
        super().__init__(in_channels, out_channels, kernel_size, bias=bias_epochs > 0)
        self.weight.requires_grad_(False)
        self.epsilon, self.bias_epochs = epsilon, bias_epochs
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def set_progress(self, progress: TrainingProgress) -> None:
        """Freeze the bias after its epochs."""
        if self.bias is not None:
            self.bias.requires_grad_(progress.epoch < self.bias_epochs)

    @torch.no_grad()
    def init_from_images(self, images: Tensor) -> None:
        """Compute the filters that whiten the patches of normalized images (N, C, H, W)."""
        side, channels = self.kernel_size[0], self.in_channels
        patches = images.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5)
        rows = patches.reshape(-1, channels * side**2).double()
        variances, axes = torch.linalg.eigh(rows.T @ rows / len(rows))
        filters = (axes / (variances + self.epsilon).sqrt()).T
        filters = filters.reshape(-1, channels, side, side)
        self.weight.copy_(torch.cat([filters, -filters]))


def init_whitening(
    network: nn.Module, images: Tensor, normalize: Callable[[Tensor], Tensor]
) -> None:
    """Initialise the whitening layers from training images.

    Args:
        network: the network; without whitening layers nothing is computed.
        images: (N, C, H, W) uint8; the first 5000 are used.
        normalize: from uint8 to the network's input.
    """
    layers = [module for module in network.modules() if isinstance(module, WhiteningConv)]
    if layers:
        normalized = normalize(images[:WHITENING_IMAGES]).cpu()
        for layer in layers:
            layer.init_from_images(normalized)


Stem = Annotated[ConvStem | WhiteningStem, Field(discriminator="kind")]
