"""Noise: each function takes (N, 3, H, W) in [0, 1], a severity from 1 to 5, and random values."""

import torch
from torch import Tensor

from residua.inference.corruptions.random import CorruptionRandom

GAUSSIAN_STD = (0.04, 0.06, 0.08, 0.09, 0.10)
SHOT_PHOTONS = (500, 250, 100, 75, 50)
IMPULSE_SHARE = (0.01, 0.02, 0.03, 0.05, 0.07)


def gaussian_noise(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:
    """Add normal noise."""
    return images + GAUSSIAN_STD[severity - 1] * random.normal(*images.shape)


def shot_noise(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:
    """Count photons: a Poisson value with the mean of each pixel times a constant."""
    photons = SHOT_PHOTONS[severity - 1]
    return random.poisson(images * photons) / photons


def impulse_noise(images: Tensor, severity: int, random: CorruptionRandom) -> Tensor:
    """Set values to 0 or 1, each in half of the cases (salt and pepper)."""
    hit = random.uniform(*images.shape) < IMPULSE_SHARE[severity - 1]
    salt = random.uniform(*images.shape) < 0.5
    return torch.where(hit, salt.float(), images)
