"""Layers that stems, blocks and heads are built from."""

from abc import abstractmethod
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.distributed import Share
from residua.models.sync_batch_norm import SyncBatchNorm2d
from residua.schedules import Probability, Scheduled, TrainingProgress, value_at

Activation = Literal["relu", "silu", "gelu"]


class ScheduledModule(nn.Module):
    """Base of modules that change with a training's progress."""

    @abstractmethod
    def set_progress(self, progress: TrainingProgress) -> None:
        """Take the state of this progress."""


class ScheduledDropout(ScheduledModule):
    """Base of modules that drop values with a probability that may follow a schedule.

    `p` is the current probability, and `p_tensor` the same value as a tensor.

    Args:
        rate: the probability, a number or a schedule.
        rate_scale: a factor on the rate.
    """

    def __init__(self, rate: Scheduled, rate_scale: float = 1.0) -> None:
        super().__init__()
        self.rate, self.rate_scale, self.p = rate, rate_scale, 0.0
        self.scheduled = not isinstance(rate, int | float)
        self.p_tensor: Tensor
        self.register_buffer("p_tensor", torch.zeros(()), persistent=False)
        self.share: Share | None = None
        self.set_progress(TrainingProgress(0, 1, 1))

    def set_progress(self, progress: TrainingProgress) -> None:
        """Take the value of the schedule at this progress."""
        p = self.rate_scale * value_at(self.rate, progress)
        if p != self.p:
            self.p = p
            self.p_tensor.fill_(p)

    def dropout(self, values: Tensor) -> Tensor:
        """In training, zero each value with probability p and divide the others by 1 - p.

        Where several ranks share a batch, the random numbers are those of the whole batch.
        """
        if not self.training:
            return values  # Reading the rate here would compile the network for each of its values.
        if self.share is None:
            return self._dropout(values)
        channels_last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        ones = values.new_ones(self.share.count, *values.shape[1:]).contiguous(memory_format=layout)
        return values * self._dropout(ones)[self.share.start : self.share.stop]

    def _dropout(self, values: Tensor) -> Tensor:
        if not (self.scheduled and torch.compiler.is_compiling()):
            return F.dropout(values, self.p)
        # A new value of a float recompiles the code; a new value of a tensor does not.
        keep = torch.rand_like(values) >= self.p_tensor
        return values * keep / (1 - self.p_tensor).clamp(min=1e-12)

    def extra_repr(self) -> str:
        """The rate, as the recipe has it."""
        return f"rate={self.rate}"


class Dropout(ScheduledDropout):
    """Dropout of single values, or of whole channels (Tompson et al., arXiv:1411.4280).

    Args:
        rate: the probability, a number or a schedule.
        channels: whether to drop whole channels.
    """

    def __init__(self, rate: Scheduled, channels: bool = False) -> None:
        super().__init__(rate)
        self.channels = channels

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W), or (N, C) without `channels`, to the same shape."""
        if not self.channels:
            return self.dropout(features)
        return features * self.dropout(features.new_ones(*features.shape[:2], 1, 1))


class StochasticDepth(ScheduledDropout):
    """Drop a whole branch for some images (Huang et al., arXiv:1603.09382).

    It is the last layer of a branch. In training the branches that are kept are divided by 1 - p,
    so evaluation needs no scaling. The random numbers come from torch's global generator.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape; in training, each image is zeroed or scaled."""
        return features * self.dropout(features.new_ones(len(features), 1, 1, 1))


class ShakeDrop(ScheduledDropout):
    """Shake branches instead of dropping them (Yamada et al., arXiv:1802.02375).

    It is the last layer of a branch. With probability p an image's branch is multiplied by alpha,
    uniform in [-1, 1], and its gradient by beta, uniform in [0, 1]. In evaluation the branch is
    multiplied by its expected factor, 1 - p. The three random numbers of each image come from
    torch's global generator.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape; in training, some images are shaken."""
        if not self.training:
            return features * (1 - self.p)
        rate = self.p_tensor if self.scheduled and torch.compiler.is_compiling() else self.p
        draw, alpha, beta = torch.rand(3, len(features), 1, 1, 1, device=features.device)
        kept = draw >= rate
        factor = torch.where(kept, 1.0, 2 * alpha - 1).to(features.dtype)
        gradient_factor = torch.where(kept, 1.0, beta).to(features.dtype)
        shaken: Tensor = _Shake.apply(features, factor, gradient_factor)  # type: ignore[no-untyped-call]
        return shaken


class _Shake(torch.autograd.Function):
    """Multiply features by one factor, and their gradient by another."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: Tensor, gradient_factor: Tensor) -> Tensor:
        """(N, C, H, W) times (N, 1, 1, 1)."""
        ctx.save_for_backward(gradient_factor)
        return features * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the features."""
        (gradient_factor,) = ctx.saved_tensors
        return gradients[0] * gradient_factor, None, None


def dropout_layers(rate: Probability) -> list[nn.Module]:
    """A dropout layer, or none if the rate is the constant 0."""
    return [] if rate == 0 else [Dropout(rate)]


def stochastic_depth_layers(rate: Probability, rate_scale: float) -> list[nn.Module]:
    """A stochastic depth layer of `rate_scale` times the rate, or none if the rate is 0."""
    return [] if rate == 0 else [StochasticDepth(rate, rate_scale)]


def shake_drop_layers(rate: Probability, rate_scale: float) -> list[nn.Module]:
    """A ShakeDrop layer of `rate_scale` times the rate, or none if the rate is 0."""
    return [] if rate == 0 else [ShakeDrop(rate, rate_scale)]


def set_progress(network: nn.Module, progress: TrainingProgress) -> None:
    """Set dropout and stochastic depth to their rates at this progress; freeze what is due."""
    for module in network.modules():
        if isinstance(module, ScheduledModule):
            module.set_progress(progress)


def set_share(network: nn.Module, share: Share | None) -> None:
    """Tell dropout and stochastic depth which images of a batch this rank computes."""
    for module in network.modules():
        if isinstance(module, ScheduledDropout):
            module.share = share


class BatchNorm(Config):
    """Batch normalization (Ioffe and Szegedy, arXiv:1502.03167)."""

    kind: Literal["batch"] = "batch"
    momentum: float = Field(default=0.1, gt=0, le=1)
    """The weight of a new batch in the running statistics."""
    scale: bool = True
    """Whether to learn a scale besides the shift."""
    sync: bool = False
    """Whether the statistics are those of all ranks' images; else each rank uses its own."""

    def build(self, channels: int) -> nn.Module:
        """(N, channels, H, W) to the same shape."""
        norm_type = SyncBatchNorm2d if self.sync else nn.BatchNorm2d
        norm: nn.BatchNorm2d = norm_type(channels, momentum=self.momentum)
        norm.weight.requires_grad_(self.scale)
        return norm


class GroupNorm(Config):
    """Group normalization (Wu and He, arXiv:1803.08494), which is independent of the batch."""

    kind: Literal["group"] = "group"
    groups: int = Field(default=32, ge=1)
    """The number of groups; if it does not divide the channels, their largest divisor below."""
    scale: bool = True
    """Whether to learn a scale besides the shift."""

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
    """A convolution (option B of arXiv:1512.03385)."""

    kind: Literal["projection"] = "projection"
    kernel: Literal[1, 3] = 1
    norm: bool = True
    """Whether a normalization layer follows."""

    def build(self, in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Module:
        """(N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        conv = convolution(in_channels, out_channels, self.kernel, stride)
        return nn.Sequential(conv, norm.build(out_channels)) if self.norm else conv


class ZeroPadding(Config):
    """Strided subsampling and zero channels, without parameters (option A of arXiv:1512.03385)."""

    kind: Literal["zero_padding"] = "zero_padding"
    pool: bool = False
    """Whether to average stride x stride pixels (PyramidNet) instead of taking the first."""

    def build(self, in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Module:  # noqa: ARG002
        """(N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        padding = ZeroPadShortcut(out_channels - in_channels, 1 if self.pool else stride)
        if self.pool and stride > 1:
            return nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), padding)
        return padding


class ZeroPadShortcut(nn.Module):
    """Every stride-th pixel, with `channels` channels of zeros added."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + channels, H / stride, W / stride)."""
        before = self.channels // 2
        padding = (0, 0, 0, 0, before, self.channels - before)
        return F.pad(features[:, :, :: self.stride, :: self.stride], padding)


Shortcut = Annotated[Projection | ZeroPadding, Field(discriminator="kind")]


class AveragePool(Config):
    """The mean over all positions."""

    kind: Literal["average"] = "average"

    def build(self) -> nn.Module:
        """(N, C, H, W) to (N, C, 1, 1)."""
        return nn.AdaptiveAvgPool2d(1)


class MaxPool(Config):
    """The maximum over all positions, or over a window of fixed size."""

    kind: Literal["max"] = "max"
    kernel_size: int | None = Field(default=None, ge=1)
    """Side of the window, which moves with stride 1; None takes the whole image."""

    def build(self) -> nn.Module:
        """(N, C, H, W) to (N, C, H', W')."""
        if self.kernel_size is None:
            return GlobalMaxPool()
        return nn.MaxPool2d(self.kernel_size, stride=1)


class GlobalMaxPool(nn.AdaptiveMaxPool2d):
    """The maximum over all positions; its gradient goes to the first maximum."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 1, 1)."""
        # On GPUs the gradient of adaptive pooling is not deterministic. On CPUs it is faster.
        if features.is_cuda and torch.are_deterministic_algorithms_enabled():
            return max_over_positions(features)
        pooled: Tensor = super().forward(features)
        return pooled


def max_over_positions(features: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 1, 1); equals adaptive pooling, and so does its gradient.

    The gradient is scattered by index, for which every device has a deterministic algorithm.
    """
    return features.flatten(2).max(2).values[..., None, None]


Pooling = Annotated[AveragePool | MaxPool, Field(discriminator="kind")]


MIN_SAFE_CHANNELS = 16
"""oneDNN's strided 1 x 1 convolutions are safe from this number of input channels on."""


class StridedPointwiseConv(nn.Conv2d):
    """A strided 1 x 1 convolution, computed as subsampling and a convolution of stride 1.

    The function is the same. oneDNN's own kernel writes outside its memory in the backward pass
    if there are few input channels in channels_last format:
    https://github.com/uxlfoundation/oneDNN/issues/6035.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        rows, columns = self.stride
        return F.conv2d(input[:, :, ::rows, ::columns], self.weight, groups=self.groups)


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias, padded so that only the stride changes height and width."""
    unsafe = kernel_size == 1 and stride > 1 and in_channels < MIN_SAFE_CHANNELS
    conv = StridedPointwiseConv if unsafe else nn.Conv2d
    return conv(
        in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
    )
