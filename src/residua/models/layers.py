"""The small parts that stems, blocks and heads are made of."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.schedules import Scheduled, TrainingProgress, value_at

NormFactory = Callable[[int], nn.Module]
"""From a number of channels to a normalization layer."""
Activation = Literal["relu", "silu", "gelu"]
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    # In place it would copy its input first, which its backward pass asks for.
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


class ScheduledDropout(nn.Module):
    """A module that drops with a rate between 0 and 1 that may follow a schedule.

    `p` is the rate's rate_tensor value.

    Args:
        rate: a number or a schedule.
        share: what the rate is multiplied with.
    """

    def __init__(self, rate: Scheduled, share: float = 1.0) -> None:
        super().__init__()
        self.rate, self.share, self.p = rate, share, 0.0
        self.varies = not isinstance(rate, int | float)
        self.rate_tensor: Tensor
        self.register_buffer("rate_tensor", torch.zeros(()), persistent=False)
        self.set_progress(TrainingProgress(0, 1, 1))

    def set_progress(self, progress: TrainingProgress) -> None:
        """Take the rate of this moment."""
        p = self.share * value_at(self.rate, progress)
        if p != self.p:
            self.p = p
            self.rate_tensor.fill_(p)

    def drop(self, values: Tensor) -> Tensor:
        """While training, each value zeroed with probability p, or divided by 1 - p."""
        if not (self.varies and self.training and torch.compiler.is_compiling()):
            return F.dropout(values, self.p, self.training)
        # Compiled code is made anew for every new value of a float, but not of a tensor.
        kept = torch.rand_like(values) >= self.rate_tensor
        return values * kept / (1 - self.rate_tensor).clamp(min=1e-12)

    def extra_repr(self) -> str:
        """The rate, as the recipe has it."""
        return f"rate={self.rate}"


class Dropout(ScheduledDropout):
    """Zero activations (or whole channels) with a rate that may follow a schedule.

    Args:
        rate: the probability, a number or a schedule.
        channels: whether whole channels go at once (Tompson et al., arXiv:1411.4280).
    """

    def __init__(self, rate: Scheduled, channels: bool = False) -> None:
        super().__init__(rate)
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Drop while training, pass through otherwise."""
        if not self.channels:
            return self.drop(images)
        return images * self.drop(images.new_ones(*images.shape[:2], 1, 1))


class StochasticDepth(ScheduledDropout):
    """Leave out a whole branch for some images (Huang et al., arXiv:1603.09382).

    At the end of a branch. What is not left out is scaled up while training, so that evaluation
    changes nothing; the draws come from torch's global generator, as those of dropout do.
    """

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape: each image zeroed with probability p, or scaled."""
        return images * self.drop(images.new_ones(len(images), 1, 1, 1))


def set_progress(network: nn.Module, progress: TrainingProgress) -> None:
    """Give everything in a network that drops something the rate of this moment."""
    for module in network.modules():
        if isinstance(module, ScheduledDropout):
            module.set_progress(progress)


class BatchNorm(Config):
    """Batch normalization (Ioffe and Szegedy, arXiv:1502.03167)."""

    kind: Literal["batch"] = "batch"
    momentum: float = Field(default=0.1, gt=0, le=1)
    """The weight of a new batch in the running statistics."""
    scale: bool = True
    """Whether a scale is learned besides the shift."""

    def build(self, channels: int) -> nn.Module:
        """(N, channels, H, W) to the same shape."""
        norm = nn.BatchNorm2d(channels, momentum=self.momentum)
        norm.weight.requires_grad_(self.scale)
        return norm


class GroupNorm(Config):
    """Group normalization (Wu and He, arXiv:1803.08494); it does not depend on the batch."""

    kind: Literal["group"] = "group"
    groups: int = Field(default=32, ge=1)
    """Groups of channels; where they do not divide the channels, the largest divisor below."""
    scale: bool = True
    """Whether a scale is learned besides the shift."""

    def build(self, channels: int) -> nn.Module:
        """(N, channels, H, W) to the same shape."""
        groups = max(g for g in range(1, min(self.groups, channels) + 1) if channels % g == 0)
        norm = nn.GroupNorm(groups, channels)
        norm.weight.requires_grad_(self.scale)
        return norm


class NoNorm(Config):
    """No normalization."""

    kind: Literal["none"] = "none"

    def build(self, channels: int) -> nn.Module:  # noqa: ARG002
        """The identity."""
        return nn.Identity()


Norm = Annotated[BatchNorm | GroupNorm | NoNorm, Field(discriminator="kind")]


class Projection(Config):
    """A convolution where shape or width change (option B of arXiv:1512.03385)."""

    kind: Literal["projection"] = "projection"
    kernel: Literal[1, 3] = 1
    norm: bool = True
    """Whether batch normalisation follows."""

    def build(self, narrow: int, wide: int, stride: int, norm: NormFactory) -> nn.Module:
        """(N, narrow, H, W) to (N, wide, H / stride, W / stride)."""
        conv = convolution(narrow, wide, self.kernel, stride)
        return nn.Sequential(conv, norm(wide)) if self.norm else conv


class ZeroPadding(Config):
    """Strided sub-sampling and zero channels, without parameters (option A)."""

    kind: Literal["zero_padding"] = "zero_padding"

    def build(self, narrow: int, wide: int, stride: int, norm: NormFactory) -> nn.Module:  # noqa: ARG002
        """(N, narrow, H, W) to (N, wide, H / stride, W / stride)."""
        return ZeroPadShortcut(wide - narrow, stride)


class ZeroPadShortcut(nn.Module):
    """Every stride-th pixel, and `channels` channels of zeros."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + channels, H / stride, W / stride)."""
        before = self.channels // 2
        padding = (0, 0, 0, 0, before, self.channels - before)
        return F.pad(images[:, :, :: self.stride, :: self.stride], padding)


Shortcut = Annotated[Projection | ZeroPadding, Field(discriminator="kind")]


class AveragePool(Config):
    """The mean over all places."""

    kind: Literal["average"] = "average"

    def build(self) -> nn.Module:
        """(N, C, H, W) to (N, C, 1, 1)."""
        return nn.AdaptiveAvgPool2d(1)


class MaxPool(Config):
    """The maximum over all places, or over a window of fixed size."""

    kind: Literal["max"] = "max"
    kernel_size: int | None = Field(default=None, ge=1)
    """Side and stride 1 of the window; None takes the whole image."""

    def build(self) -> nn.Module:
        """(N, C, H, W) to (N, C, H', W')."""
        return (
            nn.AdaptiveMaxPool2d(1)
            if self.kernel_size is None
            else nn.MaxPool2d(self.kernel_size, stride=1)
        )


Pooling = Annotated[AveragePool | MaxPool, Field(discriminator="kind")]


MIN_SAFE_CHANNELS = 16
"""Input channels from which on oneDNN's strided 1 x 1 convolutions are safe."""


class StridedPointwiseConv(nn.Conv2d):
    """A strided 1 x 1 convolution that leaves out pixels first, and then has stride 1.

    The same function. oneDNN's own writes outside its memory in the backward pass where input
    channels are few and lie last: https://github.com/uxlfoundation/oneDNN/issues/6035.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        down, right = self.stride
        return F.conv2d(input[:, :, ::down, ::right], self.weight, groups=self.groups)


def convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias that keeps H and W but for its stride."""
    if kernel == 1 and stride > 1 and channels_in < MIN_SAFE_CHANNELS:
        return StridedPointwiseConv(
            channels_in, channels_out, kernel, stride, groups=groups, bias=False
        )
    return nn.Conv2d(
        channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False
    )
