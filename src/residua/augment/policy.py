"""Augmentations that choose among operations anew for every image."""

import math
from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import ConfigDict, PositiveInt
from torch import Tensor

from residua.augment import color_ops
from residua.augment.base import BatchRandom, ColorOp, Operation
from residua.augment.geometric import Geometric, Padding, compose
from residua.schedules import Magnitude

GEOMETRIC_OPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
COLOR_OPS: tuple[color_ops.ColorFunction, ...] = (
    color_ops.unchanged,
    color_ops.brightness,
    color_ops.color,
    color_ops.contrast,
    color_ops.sharpness,
    color_ops.posterize,
    color_ops.solarize,
    color_ops.autocontrast,
    color_ops.equalize,
)
OPERATIONS = (*GEOMETRIC_OPS, *(recolouring.__name__ for recolouring in COLOR_OPS))
"""The fourteen operations, all equally likely; `unchanged` is one of them."""
MAX_MAGNITUDE = 30
"""The highest magnitude."""


class Ranges(NamedTuple):
    """What the operations do at the highest magnitude; nothing at magnitude 0."""

    shear: float
    """Pixels along one axis for each pixel along the other; half of all images the other way."""
    translate: float
    """A share of the side; half of all images the other way."""
    degrees: float
    """Of rotation; half of all images the other way."""
    enhance: float
    """How far the factor of brightness, colour, contrast and sharpness lies above or below 1."""
    bits: int
    """How many of the eight bits posterising takes away; solarising inverts everything."""


class Policy(Operation):
    """An augmentation that draws one operation or several, of either kind, for each image.

    What was drawn is one part that moves pixels, which joins the recipe's other geometric
    augmentations in their single reading, and one part that changes colours. Where an image gets
    both, it is therefore moved first, whatever the order they were drawn in.
    """

    ranges: ClassVar[Ranges]
    mode: Padding = "zero"
    """What lies beyond the edges."""

    @abstractmethod
    def strengths(self, draw: BatchRandom) -> Tensor:
        """(N, S) float32 in [0, 1]: how strong each of S operations in turn is for each image."""

    def parts(self, draw: BatchRandom) -> tuple[Operation, ...]:
        """What this step does to each image: first where its pixels go, then their colours."""
        share = self.strengths(draw)
        slots = share.shape[1]
        choice = (draw.uniform(columns=slots) * len(OPERATIONS)).long()
        signed = torch.where(draw.uniform(columns=slots) < 0.5, -share, share)
        matrices = self.moves(choice[:, 0], signed[:, 0], draw)
        for slot in range(1, slots):
            matrices = compose(matrices, self.moves(choice[:, slot], signed[:, slot], draw))
        colors = (choice - len(GEOMETRIC_OPS)).clamp(min=0)
        return (
            SampledAffine(matrices_drawn=matrices, mode=self.mode),
            SampledColorOps(choice=colors, strength=self.amounts(colors, signed)),
        )

    def moves(self, choice: Tensor, signed: Tensor, draw: BatchRandom) -> Tensor:
        """(N, 2, 3), the matrices of the chosen moves (N,) with strengths (N,) in [-1, 1].

        Shears fix the image's upper left corner, as in the published code; rotations its centre.
        """

        def of(move: str, most: float) -> Tensor:
            return torch.where(choice == GEOMETRIC_OPS.index(move), signed * most, 0.0)

        shear_x, shear_y = (of(f"shear_{axis}", self.ranges.shear) for axis in "xy")
        move_x = of("translate_x", self.ranges.translate * draw.width)
        move_y = of("translate_y", self.ranges.translate * draw.height)
        angle = of("rotate", math.radians(self.ranges.degrees))
        cos, sin = torch.cos(angle), torch.sin(angle)
        x, y = (draw.width - 1) / 2, (draw.height - 1) / 2
        across = [cos, shear_x - sin, x - cos * x + sin * y + shear_x / 2 + move_x]
        down = [shear_y + sin, cos, y - sin * x - cos * y + shear_y / 2 + move_y]
        return torch.stack([torch.stack(across, 1), torch.stack(down, 1)], 1)

    def amounts(self, choice: Tensor, signed: Tensor) -> Tensor:
        """What the chosen colour operations are given, for strengths in [-1, 1]; shapes alike."""
        amounts = 1 + signed * self.ranges.enhance
        bits = 8 - (signed.abs() * self.ranges.bits).round()
        amounts = torch.where(choice == COLOR_OPS.index(color_ops.posterize), bits, amounts)
        threshold = 256 * (1 - signed.abs())
        return torch.where(choice == COLOR_OPS.index(color_ops.solarize), threshold, amounts)


class SampledAffine(Geometric):
    """The moves that a policy has drawn."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    pixel_exact: ClassVar[bool] = False
    matrices_drawn: Tensor
    """(N, 2, 3)."""
    mode: Padding

    @property
    def padding_mode(self) -> Padding | None:
        """Zeros or the mirrored image."""
        return self.mode

    def matrices(self, draw: BatchRandom) -> Tensor:  # noqa: ARG002
        """What was drawn."""
        return self.matrices_drawn


class SampledColorOps(ColorOp):
    """The changes of colour that a policy has drawn."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    choice: Tensor
    """(N, S) int64: places in RECOLOURINGS."""
    strength: Tensor
    """(N, S) float32."""

    def draw(self, draw: BatchRandom) -> Tensor:  # noqa: ARG002
        """(N, 2 S): what was drawn, choices before strengths."""
        return torch.cat([self.choice.float(), self.strength], 1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """One operation after another, each image with its own."""
        choices, strengths = drawn.chunk(2, 1)
        for choice, strength in zip(choices.long().unbind(1), strengths.unbind(1), strict=True):
            images = color_ops.apply_color_ops(images, choice, strength, COLOR_OPS)
        return images


class RandAugment(Policy):
    """Some operations in turn, all of one magnitude (Cubuk et al., arXiv:1909.13719).

    The ranges are AutoAugment's, which the paper takes; torchvision's class of the same name has
    them too.
    """

    kind: Literal["rand_augment"] = "rand_augment"
    ranges: ClassVar[Ranges] = Ranges(0.3, 150 / 331, 30.0, 0.9, 4)
    number: PositiveInt = 2
    """Operations for each image (the paper's N)."""
    magnitude: Magnitude = 9
    """From 0, nothing, to 30, the full ranges (the paper's M)."""

    def strengths(self, draw: BatchRandom) -> Tensor:
        """The magnitude, for every image and operation."""
        share = draw.number(self.magnitude) / MAX_MAGNITUDE
        return torch.full((draw.count, self.number), share, device=draw.generator.device)


class TrivialAugment(Policy):
    """One operation of a random magnitude (Müller and Hutter, arXiv:2103.10158).

    The ranges are those of the paper's wide space, with its 32 pixels of translation as the whole
    side of an image.
    """

    kind: Literal["trivial_augment"] = "trivial_augment"
    ranges: ClassVar[Ranges] = Ranges(0.99, 1.0, 135.0, 0.99, 6)

    def strengths(self, draw: BatchRandom) -> Tensor:
        """One of 31 magnitudes, all equally likely, for each image."""
        return (draw.integer(MAX_MAGNITUDE + 1) / MAX_MAGNITUDE)[:, None]
