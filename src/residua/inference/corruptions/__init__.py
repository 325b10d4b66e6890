"""The corruptions of CIFAR-C (Hendrycks and Dietterich, arXiv:1903.12261), made here.

15 kinds, each with 5 severities, with the constants that CIFAR-10-C and CIFAR-100-C were generated
with (`make_cifar_c.py` of the authors). Images are corrupted in blocks, batched and seeded, so that
a set is never held corrupted as a whole. Four of them depart from the authors' program:

- `frost` blends procedural crystals instead of photographs of frost, which cannot be shipped;
- `elastic_transform` interpolates exactly, where OpenCV rounds to 1/32 of a pixel;
- `motion_blur` and `snow` follow ImageMagick's definition of motion blur, without its library;
- images of other sizes than 32 x 32 are corrupted with the constants of 32 x 32.

As there, corrupted values are truncated to 8 bits, not rounded.
"""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from residua.inference.corruptions import blur, digital, noise, weather
from residua.inference.corruptions.geometry import to_levels
from residua.inference.corruptions.random import CorruptionRandom
from residua.seeding import derive_seed

Kind = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
SEVERITIES = (1, 2, 3, 4, 5)
BLOCK = 250
"""Images that are corrupted together; another number would draw other random values."""
_Corruption = Callable[[Tensor, int, CorruptionRandom], Tensor]
_FUNCTIONS: dict[Kind, _Corruption] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}


def corrupt(images: Tensor, kind: Kind, severity: int, seed: int = 0) -> Tensor:
    """Corrupt images.

    Args:
        images: (N, 3, H, W) uint8.
        kind: of the corruption.
        severity: 1 to 5.
        seed: of the random values; the same seed gives the same images.

    Returns:
        (N, 3, H, W) uint8, on the CPU.
    """
    blocks = [block for _, block in corrupted_blocks(images, kind, severity, seed)]
    return torch.cat(blocks)


def corrupted_blocks(
    images: Tensor, kind: Kind, severity: int, seed: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """The index of the first image of each block, and the block (n, 3, H, W) uint8, corrupted.

    The arguments are those of `corrupt`.
    """
    for start in range(0, len(images), BLOCK):
        random = CorruptionRandom(derive_seed(seed, kind, severity, start))
        # In float64 as the authors: truncation makes a level of each rounding error.
        pixels = images[start : start + BLOCK].cpu().double() / 255
        yield start, to_levels(_FUNCTIONS[kind](pixels, severity, random)).to(torch.uint8)
