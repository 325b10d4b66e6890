"""A residual network as data: one space in which the known networks are points."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from residua.models.blocks import AnyBlock, Basic, PreActivation, Style, drop
from residua.models.network import ResidualNetwork
from residua.models.parts import (
    Activation,
    Attention,
    AveragePool,
    Dropout,
    Pooling,
    Projection,
    Shortcut,
    convolution,
)
from residua.schedule import Probability
from residua.seed import derive
from residua.value import Value


class Stem(Value):
    """What comes before the first block: a convolution, normalised and activated or not."""

    width: PositiveInt = 64
    kernel: Literal[1, 3, 5, 7] = 3
    norm: bool = True
    """Whether normalisation and activation follow; not, where the first block begins with them."""
    dropout: Probability = 0.0
    """Of whole channels, after the activation."""


class Architecture(Value):
    """A residual network: a stem, stages of equal blocks, pooling and one linear layer."""

    stem: Stem = Stem()
    depths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (2, 2, 2, 2)
    """Blocks of each stage."""
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 128, 256, 512)
    """The width of each stage's blocks."""
    strides: tuple[Literal[1, 2], ...] | None = None
    """The stride of each stage's first block; left out: 1, then 2 for every further stage."""
    block: AnyBlock = Basic()
    shortcut: Shortcut = Projection()
    """Where a block changes size or width."""
    activation: Activation = "relu"
    attention: Attention = None
    """At the end of every branch."""
    pooling: Pooling = AveragePool()
    dropout: Probability = 0.0
    """Before the linear layer."""
    norm_momentum: float = Field(default=0.1, gt=0, le=1)
    """The weight of a new batch in the running statistics of batch normalisation."""
    initialisation: Literal["he_normal", "torch"] = "he_normal"
    """Of convolutions: normal by fan-out (arXiv:1502.01852), or torch's own."""

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
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            network = self._assembled(classes)
            if self.initialisation == "he_normal":
                for module in network.modules():
                    if isinstance(module, nn.Conv2d):
                        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return network

    def _assembled(self, classes: int) -> ResidualNetwork:
        style = Style(
            self.activation,
            self.norm_momentum,
            self.shortcut,
            self.attention.build if self.attention else None,
        )
        stem: list[nn.Module] = [convolution(3, self.stem.width, self.stem.kernel)]
        if self.stem.norm:
            stem += [style.norm(self.stem.width), style.activate()]
        if self.stem.dropout != 0:
            stem.append(Dropout(self.stem.dropout, channels=True))
        channels, stages = self.stem.width, []
        for depth, width, stride in zip(self.depths, self.widths, self.all_strides, strict=True):
            blocks = []
            for place in range(depth):
                blocks.append(self.block.build(channels, width, 1 if place else stride, style))
                channels = self.block.channels(width)
            stages.append(nn.Sequential(*blocks))
        last = [style.norm(channels), style.activate()] if self.block.preactivated else []
        head = nn.Sequential(
            *last,
            self.pooling.build(),
            nn.Flatten(),
            *drop(self.dropout),
            nn.Linear(channels, classes),
        )
        return ResidualNetwork(nn.Sequential(*stem), nn.Sequential(*stages), head)


def wide(depth: int, factor: int, dropout: Probability = 0.0) -> Architecture:
    """WRN-depth-factor (arXiv:1605.07146), for 32 x 32 images.

    Raises:
        ValueError: depth is not 6n + 4.
    """
    if (depth - 4) % 6:
        raise ValueError(f"the depth of a wide residual network is 6n + 4, not {depth}")
    return Architecture(
        stem=Stem(width=16, norm=False),
        depths=((depth - 4) // 6,) * 3,
        widths=(16 * factor, 32 * factor, 64 * factor),
        block=PreActivation(dropout=dropout),
        shortcut=Projection(norm=False),
    )
