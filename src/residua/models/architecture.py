"""A residual network as data: one space in which the known networks are points."""

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
    AnyBlock,
    BasicBlock,
    LayerFactory,
    PreActBlock,
    dropout_layers,
    stochastic_depth_layers,
)
from residua.models.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Norm,
    Pooling,
    Projection,
    Shortcut,
    convolution,
)
from residua.models.network import ResidualNetwork
from residua.models.stems import AnyStem, ConvStem
from residua.schedules import Probability
from residua.seeding import derive_seed

MAX_PARAMETERS = 2**30
"""Parameters of a network: a recipe that asks for more is a mistake, or worse."""
Depth = Annotated[int, Field(ge=1, le=256)]
Width = Annotated[int, Field(ge=1, le=2**16)]


@contextmanager
def architecture_errors() -> Iterator[None]:
    """Say what torch says of an impossible network as what the user has to change.

    Raises:
        UserError: the network cannot be built, or cannot take images of this size.
    """
    try:
        yield
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:
        raise UserError(f"architecture: there is no such network: {error}") from None


class Architecture(Config):
    """A residual network: a stem, stages of equal blocks, pooling and one linear layer."""

    stem: AnyStem = ConvStem()
    depths: Annotated[tuple[Depth, ...], Field(min_length=1, max_length=16)] = (2, 2, 2, 2)
    """Blocks of each stage."""
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)] = (64, 128, 256, 512)
    """The width of each stage's blocks."""
    strides: tuple[Literal[1, 2], ...] | None = None
    """The stride of each stage's first block; left out: 1, then 2 for every further stage."""
    block: AnyBlock = BasicBlock()
    shortcut: Shortcut = Projection()
    """Where a block changes size or width."""
    activation: Activation = "relu"
    attention: Attention = None
    """At the end of every branch."""
    pooling: Pooling = AveragePool()
    dropout: Probability = 0.0
    """Before the linear layer."""
    stochastic_depth: Probability = 0.0
    """How often the last block's branch is left out for an image while training; the blocks before
    it are left out more rarely, in proportion to their place (arXiv:1603.09382)."""
    norm: Norm = BatchNorm()
    """The normalization layers."""
    downsampling: Literal["strided", "pooled"] = "strided"
    """How a stage begins: with a block that strides, or with convolution, max-pool, norm, act."""
    head_bias: bool = True
    """Whether the linear layer has a bias."""
    head_init_std: float | None = Field(default=None, gt=0)
    """Of the linear layer's first weights; left out: torch's own initialisation."""
    initialization: Literal["kaiming_normal", "torch", "dirac"] = "kaiming_normal"
    """Of convolutions: normal by fan-out (arXiv:1502.01852), torch's own, or torch's own with the
    first filters passing their channel on (arXiv:2404.00498)."""

    @model_validator(mode="after")
    def _stages_agree(self) -> "Architecture":
        stages = {len(self.depths), len(self.widths), len(self.all_strides)}
        if len(stages) != 1:
            raise ValueError("depths, widths and strides need one entry for each stage")
        return self

    @property
    def all_strides(self) -> tuple[int, ...]:
        """The stride of each stage's first block."""
        return self.strides or (1,) + (2,) * (len(self.depths) - 1)

    def build(self, classes: int, seed: int = 0) -> ResidualNetwork:
        """Make the network, its weights drawn from a generator of its own.

        Args:
            classes: the number of logits.
            seed: of the weights; the global generator is left as it was.

        Returns:
            A network from (N, 3, H, W) float32 to (N, classes) logits.

        Raises:
            ValueError: it would have more than 2**30 parameters.
        """
        with torch.device("meta"):
            size = sum(weight.numel() for weight in self._assembled(classes).parameters())
        if size > MAX_PARAMETERS:
            raise ValueError(f"{size:,} parameters are more than {MAX_PARAMETERS:,}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            network = self._assembled(classes)
            self._initialise(network)
        return network

    def _initialise(self, network: ResidualNetwork) -> None:
        for module in network.modules():
            if not isinstance(module, nn.Conv2d) or not module.weight.requires_grad:
                continue
            if self.initialization == "kaiming_normal":
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif self.initialization == "dirac":
                nn.init.dirac_(module.weight.data[: module.in_channels])
        if self.head_init_std is not None:
            last = network.head[-1]
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=self.head_init_std)

    def _assembled(self, classes: int) -> ResidualNetwork:
        style = LayerFactory(
            self.activation,
            self.norm.build,
            self.shortcut,
            self.attention.build if self.attention else None,
        )
        stem, channels, stages = self.stem.build(style), self.stem.channels, []
        number, last_number = 0, sum(self.depths)
        for depth, width, stride in zip(self.depths, self.widths, self.all_strides, strict=True):
            blocks: list[nn.Module] = []
            if self.downsampling == "pooled":
                blocks += [
                    convolution(channels, width, 3),
                    nn.MaxPool2d(stride),
                    style.norm(width),
                    style.activate(),
                ]
                channels = width
            for _ in range(depth):
                number += 1
                block = self.block.build(channels, width, 1 if blocks else stride, style)
                block.branch.extend(
                    stochastic_depth_layers(self.stochastic_depth, number / last_number)
                )
                blocks.append(block)
                channels = self.block.channels(width)
            stages.append(nn.Sequential(*blocks))
        last = [style.norm(channels), style.activate()] if self.block.preactivated else []
        head = nn.Sequential(
            *last,
            self.pooling.build(),
            nn.Flatten(),
            *dropout_layers(self.dropout),
            nn.Linear(channels, classes, bias=self.head_bias),
        )
        return ResidualNetwork(stem, nn.Sequential(*stages), head)


def wide_resnet(depth: int, factor: int, dropout: Probability = 0.0) -> Architecture:
    """WRN-depth-factor (arXiv:1605.07146), for 32 x 32 images.

    Raises:
        ValueError: depth is not 6n + 4.
    """
    if (depth - 4) % 6:
        raise ValueError(f"the depth of a wide residual network is 6n + 4, not {depth}")
    return Architecture(
        stem=ConvStem(width=16, norm=False),
        depths=((depth - 4) // 6,) * 3,
        widths=(16 * factor, 32 * factor, 64 * factor),
        block=PreActBlock(dropout=dropout),
        shortcut=Projection(norm=False),
    )
