"""The architecture of a residual network as a recipe value."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from residua.config import Config
from residua.errors import UserError
from residua.models.attention import Attention
from residua.models.blocks import (
    BasicBlock,
    Block,
    LayerFactory,
    PreActBlock,
    PyramidBlock,
    PyramidBottleneck,
)
from residua.models.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Norm,
    Pooling,
    Projection,
    Shortcut,
    ZeroPadding,
    convolution,
    dropout_layers,
    shake_drop_layers,
    stochastic_depth_layers,
)
from residua.models.network import ResidualNetwork
from residua.models.stems import ConvStem, Stem
from residua.schedules import Probability
from residua.seeding import derive_seed

MAX_PARAMETERS = 2**30
"""A recipe that asks for a larger network is refused."""
Depth = Annotated[int, Field(ge=1, le=256)]
Width = Annotated[int, Field(ge=1, le=2**16)]
StageWidths = Width | Annotated[tuple[Width, ...], Field(min_length=1, max_length=256)]


@contextmanager
def architecture_errors() -> Iterator[None]:
    """Turn torch's errors about an impossible network into a `UserError`.

    Raises:
        UserError: the network cannot be built, or cannot take images of this size.
    """
    try:
        yield
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:
        raise UserError(f"architecture: the network cannot be built: {error}") from None


class Architecture(Config):
    """A residual network: a stem, stages of equal blocks, pooling and one linear layer."""

    stem: Stem = ConvStem()
    depths: Annotated[tuple[Depth, ...], Field(min_length=1, max_length=16)] = (2, 2, 2, 2)
    """The number of blocks of each stage."""
    widths: Annotated[tuple[StageWidths, ...], Field(min_length=1, max_length=16)] = (
        64,
        128,
        256,
        512,
    )
    """The width of the blocks of each stage, in channels: one number, or one for each block."""
    strides: tuple[Literal[1, 2], ...] | None = None
    """The stride of the first block of each stage; default: 1, then 2 for every further stage."""
    block: Block = BasicBlock()
    shortcut: Shortcut = Projection()
    """The shortcut of blocks that change the shape; all other shortcuts are the identity."""
    activation: Activation = "relu"
    attention: Attention = None
    """The last layer of every branch."""
    pooling: Pooling = AveragePool()
    dropout: Probability = 0.0
    """Before the linear layer."""
    stochastic_depth: Probability = 0.0
    """The probability that the branch of the last block is dropped for a training image; it rises
    linearly with a block's number (arXiv:1603.09382)."""
    shake_drop: Probability = 0.0
    """The probability that the branch of the last block is shaken for a training image; it rises
    linearly with a block's number (arXiv:1802.02375)."""
    norm: Norm = BatchNorm()
    """The normalization layers."""
    downsampling: Literal["strided", "pooled"] = "strided"
    """How a stage begins: with a strided block, or with convolution, max-pooling, norm, act."""
    head_bias: bool = True
    """Whether the linear layer has a bias."""
    head_init_std: float | None = Field(default=None, gt=0)
    """The standard deviation of the linear layer's initial weights; default: torch's own
    initialisation."""
    initialization: Literal["kaiming_normal", "torch", "dirac"] = "kaiming_normal"
    """Of convolutions: normal by fan-out (arXiv:1502.01852), torch's own, or torch's own with the
    first filters as identity filters (arXiv:2404.00498)."""

    @model_validator(mode="after")
    def _check_stages(self) -> "Architecture":
        if len({len(self.depths), len(self.widths), len(self.all_strides)}) != 1:
            raise ValueError("depths, widths and strides need one entry for each stage")
        for depth, widths in zip(self.depths, self.widths, strict=True):
            if isinstance(widths, tuple) and len(widths) != depth:
                raise ValueError(f"a stage of {depth} blocks has {len(widths)} widths")
            if isinstance(widths, tuple) and self.downsampling == "pooled":
                raise ValueError("downsampling: pooled needs one width for each stage")
        return self

    @property
    def all_strides(self) -> tuple[int, ...]:
        """The stride of the first block of each stage."""
        return self.strides or (1,) + (2,) * (len(self.depths) - 1)

    def build(self, num_classes: int, seed: int = 0, channels: int = 3) -> ResidualNetwork:
        """Build the network and initialise its weights from the seed.

        Args:
            num_classes: the number of logits.
            seed: of the initial weights; torch's global generator is left unchanged.
            channels: of the images: 3 for RGB, 1 for grey.

        Returns:
            A network from (N, channels, H, W) float32 to (N, num_classes) logits.

        Raises:
            ValueError: the network would have more than 2**30 parameters.
        """
        with torch.device("meta"):
            network = self._assemble(num_classes, channels)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if parameters > MAX_PARAMETERS:
            raise ValueError(f"{parameters:,} parameters are more than {MAX_PARAMETERS:,}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            network = self._assemble(num_classes, channels)
            self._init_weights(network)
        return network

    def _init_weights(self, network: ResidualNetwork) -> None:
        for module in network.modules():
            if not isinstance(module, nn.Conv2d) or not module.weight.requires_grad:
                continue
            if self.initialization == "kaiming_normal":
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif self.initialization == "dirac":
                for group in module.weight.data.chunk(module.groups):
                    nn.init.dirac_(group[: group.shape[1]])
        if self.head_init_std is not None:
            linear = network.head[-1]
            assert isinstance(linear, nn.Linear)
            nn.init.normal_(linear.weight, std=self.head_init_std)

    def _assemble(self, num_classes: int, in_channels: int) -> ResidualNetwork:
        layers = LayerFactory(self.activation, self.norm, self.shortcut, self.attention)
        stem = self.stem.build(layers, in_channels)
        channels, stages = self.stem.out_channels(in_channels), []
        block_number, num_blocks = 0, sum(self.depths)
        for depth, widths, stride in zip(self.depths, self.widths, self.all_strides, strict=True):
            blocks: list[nn.Module] = []
            block_widths = (widths,) * depth if isinstance(widths, int) else widths
            if self.downsampling == "pooled":
                width = block_widths[0]
                blocks += [convolution(channels, width, 3), nn.MaxPool2d(stride)]
                blocks += layers.build_norm_act(width)
                channels = width
            for width in block_widths:
                block_number += 1
                block = self.block.build(channels, width, 1 if blocks else stride, layers)
                fraction = block_number / num_blocks
                block.branch.extend(stochastic_depth_layers(self.stochastic_depth, fraction))
                block.branch.extend(shake_drop_layers(self.shake_drop, fraction))
                blocks.append(block)
                channels = self.block.out_channels(width)
            stages.append(nn.Sequential(*blocks))
        head = nn.Sequential(
            *(layers.build_norm_act(channels) if self.block.preact else ()),
            self.pooling.build(),
            nn.Flatten(),
            *dropout_layers(self.dropout),
            nn.Linear(channels, num_classes, bias=self.head_bias),
        )
        return ResidualNetwork(stem, nn.Sequential(*stages), head)


def wide_resnet(depth: int, width_factor: int, dropout: Probability = 0.0) -> Architecture:
    """WRN-depth-width_factor (arXiv:1605.07146), for images of 32 x 32 pixels.

    Raises:
        ValueError: depth is not 6n + 4.
    """
    if (depth - 4) % 6:
        raise ValueError(f"the depth of a wide residual network is 6n + 4, not {depth}")
    return Architecture(
        stem=ConvStem(width=16, norm=False),
        depths=((depth - 4) // 6,) * 3,
        widths=(16 * width_factor, 32 * width_factor, 64 * width_factor),
        block=PreActBlock(dropout=dropout),
        shortcut=Projection(norm=False),
    )


def pyramid_net(
    depth: int, alpha: int, bottleneck: bool = False, shake_drop: Probability = 0.0
) -> Architecture:
    """PyramidNet of this depth (arXiv:1610.02915), for images of 32 x 32 pixels.

    Args:
        depth: the number of weighted layers: 6n + 2, with bottlenecks 9n + 2.
        alpha: the difference of the last block's width and the stem's 16; each block adds as much.
        bottleneck: whether blocks have three convolutions, with outputs of 4 times their width.
        shake_drop: the probability that the last block is shaken.

    Raises:
        ValueError: there is no such depth.
    """
    layers = 9 if bottleneck else 6
    if (depth - 2) % layers or depth <= 2:
        raise ValueError(f"the depth of this pyramidal network is {layers}n + 2, not {depth}")
    blocks = (depth - 2) // layers
    widths = [16 + alpha * (number + 1) // (3 * blocks) for number in range(3 * blocks)]
    return Architecture(
        stem=ConvStem(width=16, norm=False),
        depths=(blocks,) * 3,
        widths=tuple(tuple(widths[stage * blocks : (stage + 1) * blocks]) for stage in range(3)),
        block=PyramidBottleneck() if bottleneck else PyramidBlock(),
        shortcut=ZeroPadding(pool=True),
        shake_drop=shake_drop,
    )
