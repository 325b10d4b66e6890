"""Residual blocks: each a value that builds one stage's worth of `ResidualBlock`."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.models.layers import (
    ACTIVATIONS,
    Activation,
    Dropout,
    NormFactory,
    Shortcut,
    StochasticDepth,
    convolution,
)
from residua.schedules import Probability


class ResidualBlock(nn.Module):
    """after(branch(before(x)) + shortcut(x or before(x))).

    Post-activation blocks have nothing before and an activation after; pre-activation blocks the
    other way round.
    """

    def __init__(
        self,
        before: nn.Module,
        branch: nn.Sequential,
        shortcut: nn.Module,
        after: nn.Module,
        skip_activated: bool,
    ) -> None:
        super().__init__()
        self.before, self.branch, self.shortcut, self.after = before, branch, shortcut, after
        self.skip_activated = skip_activated

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        entering = self.before(images)
        skip = self.shortcut(entering if self.skip_activated else images)
        out: Tensor = self.after(self.branch(entering) + skip)
        return out


@dataclass(frozen=True)
class LayerFactory:
    """What all blocks of a network share."""

    activation: Activation
    norm: NormFactory
    shortcut: Shortcut
    attention: Callable[[int], nn.Module] | None

    def activate(self) -> nn.Module:
        """The activation."""
        return ACTIVATIONS[self.activation]()

    def attend(self, channels: int) -> list[nn.Module]:
        """Attention at the end of a branch, if there is any."""
        return [self.attention(channels)] if self.attention else []

    def skip(self, channels_in: int, channels_out: int, stride: int) -> nn.Module:
        """The identity where it fits, else the shortcut."""
        if stride == 1 and channels_in == channels_out:
            return nn.Identity()
        return self.shortcut.build(channels_in, channels_out, stride, self.norm)


def dropout_layers(rate: Probability) -> list[nn.Module]:
    """Dropout, or nothing where the rate is constantly 0."""
    return [] if rate == 0 else [Dropout(rate)]


def stochastic_depth_layers(rate: Probability, share: float) -> list[nn.Module]:
    """Stochastic depth at a share of the rate, or nothing where the rate is constantly 0."""
    return [] if rate == 0 else [StochasticDepth(rate, share)]


class Block(Config):
    """One kind of residual block."""

    preactivated: ClassVar[bool] = False
    """Whether blocks leave their output unactivated, to be normalised after the last one."""

    dropout: Probability = 0.0
    """Between the last two convolutions of the branch."""

    def channels(self, width: int) -> int:
        """The output channels of a block of this width."""
        return width

    @abstractmethod
    def build(
        self, channels_in: int, width: int, stride: int, style: LayerFactory
    ) -> ResidualBlock:
        """One block, from `channels_in` to `channels(width)`."""


class BasicBlock(Block):
    """conv-norm-act-conv-norm, added, then activated (He et al., arXiv:1512.03385)."""

    kind: Literal["basic"] = "basic"
    final_activation: bool = True
    """Whether the sum is activated."""

    def build(
        self, channels_in: int, width: int, stride: int, style: LayerFactory
    ) -> ResidualBlock:
        """Two 3 x 3 convolutions, the first with the stride."""
        branch = nn.Sequential(
            convolution(channels_in, width, 3, stride),
            style.norm(width),
            style.activate(),
            *dropout_layers(self.dropout),
            convolution(width, width, 3),
            style.norm(width),
            *style.attend(width),
        )
        after = style.activate() if self.final_activation else nn.Identity()
        skip = style.skip(channels_in, width, stride)
        return ResidualBlock(nn.Identity(), branch, skip, after, skip_activated=False)


class PreActBlock(Block):
    """norm-act-conv twice, added, left as it is (He et al., arXiv:1603.05027).

    With dropout between the convolutions it is the block of wide residual networks (Zagoruyko
    and Komodakis, arXiv:1605.07146).
    """

    kind: Literal["preact"] = "preact"
    preactivated: ClassVar[bool] = True
    shortcut_input: Literal["input", "activated", "activated_when_projected"] = (
        "activated_when_projected"
    )
    """What the shortcut takes: the block's input, or the input normalised and activated."""

    def build(
        self, channels_in: int, width: int, stride: int, style: LayerFactory
    ) -> ResidualBlock:
        """Two 3 x 3 convolutions, the first with the stride."""
        shortcut = style.skip(channels_in, width, stride)
        projected = not isinstance(shortcut, nn.Identity)
        activated = self.shortcut_input == "activated" or (
            self.shortcut_input == "activated_when_projected" and projected
        )
        branch = nn.Sequential(
            convolution(channels_in, width, 3, stride),
            style.norm(width),
            style.activate(),
            *dropout_layers(self.dropout),
            convolution(width, width, 3),
            *style.attend(width),
        )
        before = nn.Sequential(style.norm(channels_in), style.activate())
        return ResidualBlock(before, branch, shortcut, nn.Identity(), activated)


class Bottleneck(Block):
    """1 x 1, 3 x 3, 1 x 1 convolutions (arXiv:1512.03385), grouped for ResNeXt (1611.05431)."""

    kind: Literal["bottleneck"] = "bottleneck"
    expansion: int = Field(default=4, ge=1, le=64)
    """Output channels over the block's width."""
    groups: int = Field(default=1, ge=1, le=2**16)
    """Groups of the 3 x 3 convolution (ResNeXt's cardinality)."""
    inner_ratio: float = Field(default=1.0, gt=0)
    """Width of the 3 x 3 convolution over the block's width."""

    def channels(self, width: int) -> int:
        """The block's width times the expansion."""
        return width * self.expansion

    def build(
        self, channels_in: int, width: int, stride: int, style: LayerFactory
    ) -> ResidualBlock:
        """Three convolutions, the 3 x 3 one with the stride.

        Raises:
            ValueError: there is no channel between them.
        """
        inner, out = round(width * self.inner_ratio), self.channels(width)
        if inner < 1:
            raise ValueError(f"nothing is left of {width} channels times {self.inner_ratio:g}")
        branch = nn.Sequential(
            convolution(channels_in, inner, 1),
            style.norm(inner),
            style.activate(),
            convolution(inner, inner, 3, stride, self.groups),
            style.norm(inner),
            style.activate(),
            *dropout_layers(self.dropout),
            convolution(inner, out, 1),
            style.norm(out),
            *style.attend(out),
        )
        skip = style.skip(channels_in, out, stride)
        return ResidualBlock(nn.Identity(), branch, skip, style.activate(), skip_activated=False)


class ConvBlock(Block):
    """conv-norm-act as the whole branch, added, left as it is (Page's ResNet-9).

    How to Train Your ResNet, https://www.myrtle.ai/how-to-train-your-resnet/.
    """

    kind: Literal["conv"] = "conv"
    num_convs: int = Field(default=1, ge=1, le=100)
    """3 x 3 convolutions of the branch."""

    def build(
        self, channels_in: int, width: int, stride: int, style: LayerFactory
    ) -> ResidualBlock:
        """The first convolution with the stride."""
        branch: list[nn.Module] = []
        for place in range(self.num_convs):
            narrow, step = (width, 1) if place else (channels_in, stride)
            if place == self.num_convs - 1:
                branch += dropout_layers(self.dropout)
            branch += [convolution(narrow, width, 3, step), style.norm(width), style.activate()]
        branch += style.attend(width)
        skip = style.skip(channels_in, width, stride)
        return ResidualBlock(
            nn.Identity(), nn.Sequential(*branch), skip, nn.Identity(), skip_activated=False
        )


AnyBlock = Annotated[BasicBlock | PreActBlock | Bottleneck | ConvBlock, Field(discriminator="kind")]
