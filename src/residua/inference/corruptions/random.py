"""Random values of corruptions."""

import torch
from torch import Tensor


class CorruptionRandom:
    """Draws float64 values on the CPU, where images are corrupted.

    Args:
        seed: of all values.
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Values in [low, high)."""
        values = torch.rand(shape, generator=self._generator, dtype=torch.float64)
        return low + (high - low) * values

    def normal(self, *shape: int) -> Tensor:
        """Standard normal values."""
        return torch.randn(shape, generator=self._generator, dtype=torch.float64)

    def poisson(self, rates: Tensor) -> Tensor:
        """A Poisson value for each rate."""
        return torch.poisson(rates, generator=self._generator)
