"""What every augmentation is: randomness drawn first, then applied to the whole batch."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from residua.config import Config
from residua.schedules import Scheduled, TrainingProgress, value_at


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(K,) float32 on the device, not to be written to.

    Kept, since bringing numbers to a GPU makes the host wait for all that the GPU has yet to do.
    """
    with torch.inference_mode(mode=False):
        return torch.tensor(values, dtype=torch.float32, device=device)


@dataclass(frozen=True)
class BatchRandom:
    """Where an augmentation gets its randomness, and for what batch.

    Everything drawn is a pure function of the generator's seed and the order of the calls.
    """

    generator: torch.Generator
    indices: Tensor
    """(N,) int64: which images of the split these are."""
    height: int
    width: int
    progress: TrainingProgress

    @property
    def count(self) -> int:
        """The number of images, N."""
        return len(self.indices)

    def of_size(self, height: int, width: int) -> "BatchRandom":
        """The same source of randomness, for images of another size."""
        return replace(self, height=height, width=width)

    def number(self, number: Scheduled) -> float:
        """What a number of the recipe is at this step."""
        return value_at(number, self.progress)

    def uniform(self, low: float = 0.0, high: float = 1.0, columns: int | None = None) -> Tensor:
        """(N,) or (N, columns) float32, uniform in [low, high)."""
        shape = (self.count,) if columns is None else (self.count, columns)
        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return drawn if (low, high) == (0, 1) else drawn * (high - low) + low

    def chosen(self, p: Scheduled) -> Tensor:
        """(N,) bool, each true with probability p."""
        return self.uniform() < self.number(p)

    def integer(self, end: Tensor | int) -> Tensor:
        """(N,) int64, uniform in [0, end), where end is one number or one for each image."""
        return (self.uniform() * end).long()

    def beta(self, alpha: float) -> Tensor:
        """(N,) float32, distributed as Beta(alpha, alpha)."""
        both = torch.full((self.count, 2), alpha, device=self.generator.device)
        return torch._sample_dirichlet(both, generator=self.generator)[:, 0]

    def permutation(self) -> Tensor:
        """(N,) int64, a permutation of the batch."""
        return torch.randperm(self.count, generator=self.generator, device=self.generator.device)


class Operation(Config):
    """Anything that a recipe's augmentation may name."""

    def parts(self, draw: BatchRandom) -> tuple["Operation", ...]:  # noqa: ARG002
        """The operations that stand for this one at this step: itself, unless it is a policy."""
        return (self,)


class ColorOp(Operation):
    """An augmentation of colours, on images (N, 3, H, W) float32 in [0, 1]."""

    @abstractmethod
    def draw(self, draw: BatchRandom) -> Tensor:
        """(N, K) float32, what `apply` needs to know of each image."""

    @abstractmethod
    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """The images with the drawn changes, again in [0, 1]."""
