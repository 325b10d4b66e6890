"""Residual blocks: each is a recipe value that builds one `ResidualBlock`."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.models.attention import Attention
from residua.models.layers import Activation, Norm, Shortcut, convolution, dropout_layers
from residua.schedules import Probability


class ResidualBlock(nn.Module):
    """after(branch(before(x)) + shortcut(x)), or shortcut(before(x)) if `shortcut_activated`.

    Post-activation blocks have an activation after the sum; pre-activation blocks have
    normalization and activation before the branch.
    """

    def __init__(
        self,
        branch: nn.Sequential,
        shortcut: nn.Module,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
        shortcut_activated: bool = False,
    ) -> None:
        super().__init__()
        # The order of these modules is the order of the parameters in optimisers and checkpoints.
        self.before = before or nn.Identity()
        self.branch = branch
        self.shortcut = shortcut
        self.after = after or nn.Identity()
        self.shortcut_activated = shortcut_activated

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        activated = self.before(features)
        shortcut = self.shortcut(activated if self.shortcut_activated else features)
        out: Tensor = self.after(self.branch(activated) + shortcut)
        return out


@dataclass(frozen=True)
class LayerFactory:
    """Builds the layers whose kind is the same in all blocks of a network."""

    activation: Activation
    norm: Norm
    shortcut: Shortcut
    attention: Attention

    def build_activation(self, inplace: bool = True) -> nn.Module:
        """The activation; only ReLU works in place."""
        # SiLU in place would copy its input, which its backward pass needs.
        others = {"silu": nn.SiLU, "gelu": nn.GELU}
        return nn.ReLU(inplace) if self.activation == "relu" else others[self.activation]()

    def build_norm_act(self, channels: int) -> tuple[nn.Module, nn.Module]:
        """Normalization and activation."""
        norm = self.norm.build(channels)
        # Without normalization the input may also be a shortcut's: it must not be overwritten.
        return norm, self.build_activation(inplace=not isinstance(norm, nn.Identity))

    def build_attention(self, channels: int) -> list[nn.Module]:
        """The attention layer, or none."""
        return [self.attention.build(channels)] if self.attention else []

    def build_shortcut(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """The identity if the shape stays the same, else the recipe's shortcut."""
        if stride == 1 and in_channels == out_channels:
            return nn.Identity()
        return self.shortcut.build(in_channels, out_channels, stride, self.norm)


class BaseBlock(Config):
    """Base of all kinds of residual blocks."""

    preact: ClassVar[bool] = False
    """Whether the output is not activated, so that the head normalizes and activates it."""

    dropout: Probability = 0.0
    """Between the last two convolutions of the branch."""

    def out_channels(self, width: int) -> int:
        """The output channels of a block of this width."""
        return width

    @abstractmethod
    def build(
        self, in_channels: int, width: int, stride: int, layers: LayerFactory
    ) -> ResidualBlock:
        """One block, from `in_channels` to `out_channels(width)`."""


class BasicBlock(BaseBlock):
    """conv-norm-act-conv-norm, the sum activated (He et al., arXiv:1512.03385)."""

    kind: Literal["basic"] = "basic"
    final_activation: bool = True
    """Whether the sum is activated."""

    def build(
        self, in_channels: int, width: int, stride: int, layers: LayerFactory
    ) -> ResidualBlock:
        """Two 3 x 3 convolutions; the first has the stride."""
        branch = nn.Sequential(
            convolution(in_channels, width, 3, stride),
            *layers.build_norm_act(width),
            *dropout_layers(self.dropout),
            convolution(width, width, 3),
            layers.norm.build(width),
            *layers.build_attention(width),
        )
        shortcut = layers.build_shortcut(in_channels, width, stride)
        after = layers.build_activation() if self.final_activation else None
        return ResidualBlock(branch, shortcut, after=after)


class PreActBlock(BaseBlock):
    """norm-act-conv twice, the sum not activated (He et al., arXiv:1603.05027).

    With dropout between the convolutions it is the block of wide residual networks (Zagoruyko
    and Komodakis, arXiv:1605.07146).
    """

    kind: Literal["preact"] = "preact"
    preact: ClassVar[bool] = True
    shortcut_input: Literal["input", "activated", "activated_when_projected"] = (
        "activated_when_projected"
    )
    """Input of the shortcut: the block's input, or that input normalized and activated."""

    def build(
        self, in_channels: int, width: int, stride: int, layers: LayerFactory
    ) -> ResidualBlock:
        """Two 3 x 3 convolutions; the first has the stride."""
        shortcut = layers.build_shortcut(in_channels, width, stride)
        projected = not isinstance(shortcut, nn.Identity)
        activated = self.shortcut_input == "activated" or (
            self.shortcut_input == "activated_when_projected" and projected
        )
        branch = nn.Sequential(
            convolution(in_channels, width, 3, stride),
            *layers.build_norm_act(width),
            *dropout_layers(self.dropout),
            convolution(width, width, 3),
            *layers.build_attention(width),
        )
        before = nn.Sequential(*layers.build_norm_act(in_channels))
        return ResidualBlock(branch, shortcut, before, shortcut_activated=activated)


class PyramidBlock(BaseBlock):
    """norm-conv-norm-act-conv-norm, the sum not activated (Han et al., arXiv:1610.02915)."""

    kind: Literal["pyramid"] = "pyramid"
    preact: ClassVar[bool] = True

    def build(
        self, in_channels: int, width: int, stride: int, layers: LayerFactory
    ) -> ResidualBlock:
        """Two 3 x 3 convolutions; the first has the stride."""
        branch = nn.Sequential(
            layers.norm.build(in_channels),
            convolution(in_channels, width, 3, stride),
            *layers.build_norm_act(width),
            *dropout_layers(self.dropout),
            convolution(width, width, 3),
            layers.norm.build(width),
            *layers.build_attention(width),
        )
        return ResidualBlock(branch, layers.build_shortcut(in_channels, width, stride))


class PyramidBottleneck(BaseBlock):
    """norm, then 1 x 1, 3 x 3, 1 x 1 convolutions, and norm (Han et al., arXiv:1610.02915)."""

    kind: Literal["pyramid_bottleneck"] = "pyramid_bottleneck"
    preact: ClassVar[bool] = True
    expansion: int = Field(default=4, ge=1, le=64)
    """Output channels divided by the block's width."""

    def out_channels(self, width: int) -> int:
        """The block's width times the expansion."""
        return width * self.expansion

    def build(
        self, in_channels: int, width: int, stride: int, layers: LayerFactory
    ) -> ResidualBlock:
        """Three convolutions; the 3 x 3 one has the stride."""
        out_channels = self.out_channels(width)
        branch = nn.Sequential(
            layers.norm.build(in_channels),
            convolution(in_channels, width, 1),
            *layers.build_norm_act(width),
            convolution(width, width, 3, stride),
            *layers.build_norm_act(width),
            *dropout_layers(self.dropout),
            convolution(width, out_channels, 1),
            layers.norm.build(out_channels),
            *layers.build_attention(out_channels),
        )
        return ResidualBlock(branch, layers.build_shortcut(in_channels, out_channels, stride))


class Bottleneck(BaseBlock):
    """1 x 1, 3 x 3, 1 x 1 convolutions (arXiv:1512.03385), grouped for ResNeXt (1611.05431)."""

    kind: Literal["bottleneck"] = "bottleneck"
    expansion: int = Field(default=4, ge=1, le=64)
    """Output channels divided by the block's width."""
    groups: int = Field(default=1, ge=1, le=2**16)
    """Groups of the 3 x 3 convolution (ResNeXt's cardinality)."""
    inner_ratio: float = Field(default=1.0, gt=0)
    """Channels of the 3 x 3 convolution divided by the block's width."""

    def out_channels(self, width: int) -> int:
        """The block's width times the expansion."""
        return width * self.expansion

    def build(
        self, in_channels: int, width: int, stride: int, layers: LayerFactory
    ) -> ResidualBlock:
        """Three convolutions; the 3 x 3 one has the stride.

        Raises:
            ValueError: the 3 x 3 convolution would have no channel.
        """
        inner, out_channels = round(width * self.inner_ratio), self.out_channels(width)
        if inner < 1:
            raise ValueError(f"inner_ratio {self.inner_ratio:g} leaves no channel of {width}")
        branch = nn.Sequential(
            convolution(in_channels, inner, 1),
            *layers.build_norm_act(inner),
            convolution(inner, inner, 3, stride, self.groups),
            *layers.build_norm_act(inner),
            *dropout_layers(self.dropout),
            convolution(inner, out_channels, 1),
            layers.norm.build(out_channels),
            *layers.build_attention(out_channels),
        )
        shortcut = layers.build_shortcut(in_channels, out_channels, stride)
        return ResidualBlock(branch, shortcut, after=layers.build_activation())


class ConvBlock(BaseBlock):
    """conv-norm-act as the whole branch, the sum not activated (Page's ResNet-9).

    How to Train Your ResNet, https://www.myrtle.ai/how-to-train-your-resnet/.
    """

    kind: Literal["conv"] = "conv"
    num_convs: int = Field(default=1, ge=1, le=100)
    """The number of 3 x 3 convolutions in the branch."""

    def build(
        self, in_channels: int, width: int, stride: int, layers: LayerFactory
    ) -> ResidualBlock:
        """3 x 3 convolutions; the first has the stride."""
        branch: list[nn.Module] = []
        for index in range(self.num_convs):
            if index == self.num_convs - 1:
                branch += dropout_layers(self.dropout)
            shape = (width, width, 3) if index else (in_channels, width, 3, stride)
            branch += [convolution(*shape), *layers.build_norm_act(width)]
        branch += layers.build_attention(width)
        shortcut = layers.build_shortcut(in_channels, width, stride)
        return ResidualBlock(nn.Sequential(*branch), shortcut)


Block = Annotated[
    BasicBlock | PreActBlock | PyramidBlock | PyramidBottleneck | Bottleneck | ConvBlock,
    Field(discriminator="kind"),
]
