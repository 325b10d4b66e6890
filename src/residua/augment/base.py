"""The base classes of augmentations, which first sample parameters, then apply them to a batch."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from residua.config import Config
from residua.schedules import Scheduled, TrainingProgress, value_at


@lru_cache(maxsize=64)
def cached_tensor(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return the values as float32 (K,) on the device; do not modify the tensor.

    Cached because a copy to a GPU makes the host wait for all queued work.
    """
    with torch.inference_mode(mode=False):
        return torch.tensor(values, dtype=torch.float32, device=device)


@dataclass(frozen=True)
class BatchRandom:
    """The source of randomness for the augmentation of one batch.

    All values are a pure function of the generator's seed and the order of the calls.
    """

    generator: torch.Generator
    indices: Tensor
    """(N,) int64: the indices of the images in the split."""
    height: int
    width: int
    progress: TrainingProgress
    channels: int = 3

    @property
    def count(self) -> int:
        """The number of images, N."""
        return len(self.indices)

    @property
    def device(self) -> torch.device:
        """The device of all sampled tensors."""
        return self.generator.device

    def resized(self, height: int, width: int) -> "BatchRandom":
        """Return the same source of randomness for images of another size."""
        return replace(self, height=height, width=width)

    def value(self, value: Scheduled) -> float:
        """Evaluate a number or schedule at this step."""
        return value_at(value, self.progress)

    def uniform(self, low: float = 0.0, high: float = 1.0, columns: int | None = None) -> Tensor:
        """(N,) or (N, columns) float32, uniform in [low, high)."""
        shape = (self.count,) if columns is None else (self.count, columns)
        values = torch.rand(shape, generator=self.generator, device=self.device)
        return values if (low, high) == (0, 1) else values * (high - low) + low

    def bernoulli(self, p: Scheduled) -> Tensor:
        """(N,) bool, each true with probability p."""
        return self.uniform() < self.value(p)

    def integers(self, high: Tensor | int) -> Tensor:
        """(N,) int64, uniform in [0, high), where high is a number or a tensor (N,)."""
        return (self.uniform() * high).long()

    def beta(self, alpha: float) -> Tensor:
        """(N,) float32, distributed as Beta(alpha, alpha)."""
        concentration = torch.full((self.count, 2), alpha, device=self.device)
        return torch._sample_dirichlet(concentration, generator=self.generator)[:, 0]

    def permutation(self) -> Tensor:
        """(N,) int64, a permutation of the batch."""
        return torch.randperm(self.count, generator=self.generator, device=self.device)


class Operation(Config):
    """The base class of all augmentations of a recipe."""

    def expand(self, random: BatchRandom) -> tuple["Operation", ...]:  # noqa: ARG002
        """Return the operations to apply at this step: a policy samples them."""
        return (self,)


class ColorOp(Operation):
    """An augmentation of colours, on images (N, C, H, W) float32 in [0, 1]."""

    @abstractmethod
    def sample(self, random: BatchRandom) -> Tensor:
        """Sample the parameters of each image, (N, K) float32."""

    @abstractmethod
    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        """Change the images by the sampled parameters; the result is in [0, 1]."""
