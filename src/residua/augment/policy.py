"""Augmentation policies, which sample operations for each image."""

import math
from abc import abstractmethod
from functools import cache, reduce
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import ConfigDict, PositiveInt
from torch import Tensor

from residua.augment import color_ops
from residua.augment.base import BatchRandom, ColorOp, Operation, cached_tensor
from residua.augment.geometric import Geometric, Padding, compose
from residua.schedules import Magnitude

GEOMETRIC_OPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
COLOR_OPS: tuple[color_ops.ColorFunction, ...] = (
    color_ops.identity,
    color_ops.brightness,
    color_ops.color,
    color_ops.contrast,
    color_ops.sharpness,
    color_ops.posterize,
    color_ops.solarize,
    color_ops.autocontrast,
    color_ops.equalize,
    color_ops.invert,
)
OPERATIONS = (*GEOMETRIC_OPS, *(color_op.__name__ for color_op in COLOR_OPS))
"""The names of the operations."""
NUM_SAMPLED = OPERATIONS.index("invert")
"""RandAugment and TrivialAugment sample from the operations before `invert`."""
MAX_MAGNITUDE = 30
AUTO_AUGMENT_LEVELS = 9
"""The highest magnitude in the sub-policies of AutoAugment."""
SubPolicy = tuple[tuple[str, float, int], tuple[str, float, int]]
"""Two successive operations: name, probability, magnitude from 0 to 9."""
CIFAR_SUB_POLICIES: tuple[SubPolicy, ...] = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
)
"""The policy that AutoAugment's search found for CIFAR (arXiv:1805.09501, table 7)."""


class MagnitudeRanges(NamedTuple):
    """The effect of each operation at the highest magnitude. Magnitude 0 has no effect."""

    shear: float
    """Pixels along one axis per pixel along the other, with a random sign."""
    translate: float
    """A fraction of the side, with a random sign."""
    degrees: float
    """The rotation, with a random sign."""
    enhance: float
    """The difference of the factor of brightness, color, contrast, sharpness from 1, +/-."""
    bits: int
    """The number of bits that posterize removes. (Solarize inverts all levels.)"""


class Policy(Operation):
    """An augmentation that samples one or more operations for each image.

    The samples are combined into one geometric operation, which joins the single resampling of the
    recipe's other geometric operations, and one colour operation. Thus geometric operations are
    applied before colour operations, whatever the order in which they were sampled.
    """

    ranges: ClassVar[MagnitudeRanges]
    mode: Padding = "zero"
    """The padding of geometric operations."""

    @abstractmethod
    def sample_operations(self, random: BatchRandom) -> tuple[Tensor, Tensor]:
        """Sample S successive operations for each image.

        Returns:
            (N, S) int64, indices into `OPERATIONS`; (N, S) float32, strengths in [0, 1].
        """

    def expand(self, random: BatchRandom) -> tuple[Operation, ...]:
        """Sample the operations of each image."""
        choice, strengths = self.sample_operations(random)
        slots = strengths.shape[1]
        signed = torch.where(random.uniform(columns=slots) < 0.5, -strengths, strengths)
        matrices = reduce(
            compose,
            (
                self.geometric_matrices(choice[:, slot], signed[:, slot], random)
                for slot in range(slots)
            ),
        )
        color_choice = (choice - len(GEOMETRIC_OPS)).clamp(min=0)
        return (
            SampledAffine(sampled_matrices=matrices, mode=self.mode),
            SampledColorOps(
                choice=color_choice, strength=self.color_strengths(color_choice, signed)
            ),
        )

    def geometric_matrices(self, choice: Tensor, signed: Tensor, random: BatchRandom) -> Tensor:
        """Compute the matrices (N, 2, 3) of the chosen operations; identity for colour operations.

        As in the published code, shears fix the upper left corner and rotations the centre.

        Args:
            choice: (N,) int64, indices into `OPERATIONS`.
            signed: (N,) float32 in [-1, 1], the strengths.
            random: gives the size of the images.
        """

        def amount(name: str, maximum: float) -> Tensor:
            return torch.where(choice == GEOMETRIC_OPS.index(name), signed * maximum, 0.0)

        shear_x, shear_y = (amount(f"shear_{axis}", self.ranges.shear) for axis in "xy")
        move_x = amount("translate_x", self.ranges.translate * random.width)
        move_y = amount("translate_y", self.ranges.translate * random.height)
        angle = amount("rotate", math.radians(self.ranges.degrees))
        cos, sin = torch.cos(angle), torch.sin(angle)
        x, y = (random.width - 1) / 2, (random.height - 1) / 2
        first_row = [cos, shear_x - sin, x - cos * x + sin * y + shear_x / 2 + move_x]
        second_row = [shear_y + sin, cos, y - sin * x - cos * y + shear_y / 2 + move_y]
        return torch.stack([torch.stack(first_row, 1), torch.stack(second_row, 1)], 1)

    def color_strengths(self, choice: Tensor, signed: Tensor) -> Tensor:
        """Convert strengths in [-1, 1] to the arguments of the chosen colour operations."""
        arguments = 1 + signed * self.ranges.enhance
        bits = 8 - (signed.abs() * self.ranges.bits).round()
        arguments = torch.where(choice == COLOR_OPS.index(color_ops.posterize), bits, arguments)
        threshold = 256 * (1 - signed.abs())
        return torch.where(choice == COLOR_OPS.index(color_ops.solarize), threshold, arguments)


class SampledAffine(Geometric):
    """The geometric operations that a policy has sampled."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    pixel_exact: ClassVar[bool] = False
    sampled_matrices: Tensor
    """(N, 2, 3)."""
    mode: Padding

    @property
    def padding_mode(self) -> Padding | None:
        """The padding of the policy."""
        return self.mode

    def matrices(self, random: BatchRandom) -> Tensor:  # noqa: ARG002
        """Return the sampled matrices."""
        return self.sampled_matrices


class SampledColorOps(ColorOp):
    """The colour operations that a policy has sampled."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    choice: Tensor
    """(N, S) int64, indices into `COLOR_OPS`."""
    strength: Tensor
    """(N, S) float32."""

    def sample(self, random: BatchRandom) -> Tensor:  # noqa: ARG002
        """(N, 2 S): the choices, then the strengths."""
        return torch.cat([self.choice.float(), self.strength], 1)

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        """Apply the S operations of each image one after another."""
        choices, strengths = params.chunk(2, 1)
        for choice, strength in zip(choices.long().unbind(1), strengths.unbind(1), strict=True):
            images = color_ops.apply_color_ops(images, choice, strength, COLOR_OPS)
        return images


class UniformPolicy(Policy):
    """A policy whose operations are equally likely."""

    @abstractmethod
    def sample_strengths(self, random: BatchRandom) -> Tensor:
        """Sample the strengths of S successive operations, (N, S) float32 in [0, 1]."""

    def sample_operations(self, random: BatchRandom) -> tuple[Tensor, Tensor]:
        """Sample the strengths, then any operations."""
        strengths = self.sample_strengths(random)
        choice = (random.uniform(columns=strengths.shape[1]) * NUM_SAMPLED).long()
        return choice, strengths


class RandAugment(UniformPolicy):
    """Several operations with the same magnitude (Cubuk et al., arXiv:1909.13719).

    The ranges are those of AutoAugment, as in the paper and in torchvision's RandAugment.
    """

    kind: Literal["rand_augment"] = "rand_augment"
    ranges: ClassVar[MagnitudeRanges] = MagnitudeRanges(0.3, 150 / 331, 30.0, 0.9, 4)
    num_ops: PositiveInt = 2
    """The number of operations for each image (N in the paper)."""
    magnitude: Magnitude = 9
    """From 0, no effect, to 30, the full ranges (M in the paper)."""

    def sample_strengths(self, random: BatchRandom) -> Tensor:
        """Return the magnitude for all images and operations."""
        strength = random.value(self.magnitude) / MAX_MAGNITUDE
        return torch.full((random.count, self.num_ops), strength, device=random.device)


class TrivialAugment(UniformPolicy):
    """One operation with a random magnitude (Müller and Hutter, arXiv:2103.10158).

    The ranges are those of the paper's wide space; its translation of up to 32 pixels is the side
    of the image here.
    """

    kind: Literal["trivial_augment"] = "trivial_augment"
    ranges: ClassVar[MagnitudeRanges] = MagnitudeRanges(0.99, 1.0, 135.0, 0.99, 6)

    def sample_strengths(self, random: BatchRandom) -> Tensor:
        """Sample one of 31 equally likely magnitudes for each image."""
        return (random.integers(MAX_MAGNITUDE + 1) / MAX_MAGNITUDE)[:, None]


class AutoAugment(Policy):
    """The learned policy of two operations for CIFAR (Cubuk et al., arXiv:1805.09501).

    Each image gets one of 25 sub-policies; each of its two operations is applied with its own
    probability and magnitude. The ranges and the random signs are those of torchvision.
    """

    kind: Literal["auto_augment"] = "auto_augment"
    ranges: ClassVar[MagnitudeRanges] = MagnitudeRanges(0.3, 150 / 331, 30.0, 0.9, 4)

    def sample_operations(self, random: BatchRandom) -> tuple[Tensor, Tensor]:
        """Sample a sub-policy, then which of its operations are applied."""
        table = cached_tensor(_sub_policy_table(), random.device)
        sub_policies = table.view(len(CIFAR_SUB_POLICIES), 3, 2)
        chosen = sub_policies[random.integers(len(CIFAR_SUB_POLICIES))]
        operations, probabilities, strengths = chosen.unbind(1)
        applied = random.uniform(columns=2) < probabilities
        identity = float(OPERATIONS.index("identity"))
        return torch.where(applied, operations, identity).long(), strengths


@cache
def _sub_policy_table() -> tuple[float, ...]:
    """For each sub-policy: the indices of its operations, their probabilities, their strengths."""
    return tuple(
        number
        for sub_policy in CIFAR_SUB_POLICIES
        for column in (
            [float(OPERATIONS.index(name)) for name, _, _ in sub_policy],
            [probability for _, probability, _ in sub_policy],
            [magnitude / AUTO_AUGMENT_LEVELS for _, _, magnitude in sub_policy],
        )
        for number in column
    )
