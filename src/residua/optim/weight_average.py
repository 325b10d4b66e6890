"""Averages of the weights along a training, evaluated in place of the last weights."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, PositiveInt
from torch import Tensor, nn

from residua.config import Config
from residua.schedules import Fraction, TrainingProgress, value_at


class WeightAverage(Config):
    """One way of averaging weights and normalisation statistics."""

    def build(self, network: nn.Module) -> dict[str, Tensor]:
        """The average before the first step: the initial weights."""
        return {name: value.detach().clone() for name, value in network.state_dict().items()}

    @abstractmethod
    def update_weight(self, progress: TrainingProgress) -> float:
        """How much of the way the average goes towards the weights after the step of this clock."""

    @torch.no_grad()
    def update(
        self, average: dict[str, Tensor], network: nn.Module, progress: TrainingProgress
    ) -> None:
        """Move the average towards the network's weights, in place, after the clock's step."""
        weight = self.update_weight(progress)
        if weight == 0:
            return
        new = network.state_dict()
        mixed = [name for name, value in new.items() if value.is_floating_point()]
        # All at once: on a GPU, starting a kernel for each costs more than what it does.
        old = [average[name] for name in mixed]
        torch._foreach_lerp_(old, [new[name] for name in mixed], weight)
        for name in new.keys() - set(mixed):
            average[name].copy_(new[name])

    def update_bn(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        batches: Iterable[Tensor],
        progress: TrainingProgress,
    ) -> None:
        """Make a network that holds the average ready to be evaluated.

        Args:
            network: what holds the average.
            forward: the network's function, in the recipe's precision.
            batches: (N, 3, H, W) float32 each, augmented training images; made when asked for.
            clock: where the training stands.
        """


class EMA(WeightAverage):
    """An exponential moving average of weights and normalisation statistics."""

    kind: Literal["ema"] = "ema"
    decay: Fraction = 0.999
    """What the average keeps of itself at every step."""

    def update_weight(self, progress: TrainingProgress) -> float:
        """The same small part at every step, or as its schedule says."""
        return 1 - value_at(self.decay, progress)


class SWA(WeightAverage):
    """The equal average of the weights after each epoch from one on (arXiv:1803.05407).

    Batch normalisation is measured anew before each evaluation, as the paper does: averaged running
    statistics are those of networks that lie far apart, and no statistics of the network in their
    middle. Until the first epoch of the average, the network's own weights are evaluated.
    """

    kind: Literal["swa"] = "swa"
    start_epoch: PositiveInt
    """The first epoch whose weights, at its end, belong to the average."""
    bn_images: PositiveInt = 10_000
    """Augmented training images that normalisation is measured on, in whole batches."""

    def update_weight(self, progress: TrainingProgress) -> float:
        """At an epoch's end an equal part of all so far; all of it, while it has not begun."""
        epoch, into = divmod(progress.step + 1, progress.steps_per_epoch)
        return 0.0 if into else 1 / max(1, epoch - self.start_epoch + 1)

    def update_bn(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        batches: Iterable[Tensor],
        progress: TrainingProgress,
    ) -> None:
        """Measure batch normalisation anew, once there is more than one epoch in the average."""
        if progress.epoch > self.start_epoch:
            reestimate_bn(network, forward, _first(batches, self.bn_images))


def _kind_by_default(given: Any) -> Any:
    """`{decay: 0.9}` means EMA: it was the only average once."""
    return {"kind": "ema", **given} if isinstance(given, dict) else given


Average = Annotated[EMA | SWA, Field(discriminator="kind"), BeforeValidator(_kind_by_default)]


def reestimate_bn(
    network: nn.Module, forward: Callable[[Tensor], Tensor], batches: Iterable[Tensor]
) -> None:
    """Give batch normalisation the mean of its statistics over some batches.

    All else is in evaluation mode meanwhile: what is measured is the network that is evaluated,
    without dropout, and nothing random is drawn.
    """
    training = network.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train().reset_running_stats()
        norm.momentum = None
    try:
        with torch.no_grad():
            for images in batches:
                forward(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(training)


def _first(batches: Iterable[Tensor], images: int) -> Iterator[Tensor]:
    """Whole batches up to so many images; one at least."""
    seen = 0
    for batch in batches:
        if seen and seen + len(batch) > images:
            return
        seen += len(batch)
        yield batch


@contextmanager
def swapped_weights(network: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """The network with other weights, and its own again afterwards; no weights, no change."""
    if not weights:
        yield
        return
    own = {name: value.detach().clone() for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    try:
        yield
    finally:
        network.load_state_dict(own)
