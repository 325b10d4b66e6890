"""Random values of corruptions."""

import torch
from torch import Tensor


class CorruptionRandom:
    """Draws on the CPU, so that every device gets the same values.

    Args:
        seed: of all values.
        device: where the values are needed.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.device = device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float32 values in [low, high)."""
        values = torch.rand(shape, generator=self._generator)
        return (low + (high - low) * values).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 values."""
        return torch.randn(shape, generator=self._generator).to(self.device)

    def poisson(self, rates: Tensor) -> Tensor:
        """A Poisson value for each rate."""
        return torch.poisson(rates.cpu(), generator=self._generator).to(self.device)
