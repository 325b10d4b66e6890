"""Averages of the weights along a training, evaluated in place of the last weights."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, PositiveInt
from torch import Tensor, nn

from residua.schedule import Clock, Fraction, at
from residua.value import Value


class Averaging(Value):
    """One way of averaging weights and normalisation statistics."""

    def build(self, network: nn.Module) -> dict[str, Tensor]:
        """The average before the first step: the initial weights."""
        return {name: value.detach().clone() for name, value in network.state_dict().items()}

    @abstractmethod
    def share(self, clock: Clock) -> float:
        """How much of the way the average goes towards the weights after the step of this clock."""

    @torch.no_grad()
    def update(self, average: dict[str, Tensor], network: nn.Module, clock: Clock) -> None:
        """Move the average towards the network's weights, in place, after the clock's step."""
        share = self.share(clock)
        if share == 0:
            return
        new = network.state_dict()
        mixed = [name for name, value in new.items() if value.is_floating_point()]
        # All at once: on a GPU, starting a kernel for each costs more than what it does.
        old = [average[name] for name in mixed]
        torch._foreach_lerp_(old, [new[name] for name in mixed], share)
        for name in new.keys() - set(mixed):
            average[name].copy_(new[name])

    def settle(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        batches: Iterable[Tensor],
        clock: Clock,
    ) -> None:
        """Make a network that holds the average ready to be evaluated.

        Args:
            network: what holds the average.
            forward: the network's function, in the recipe's precision.
            batches: (N, 3, H, W) float32 each, augmented training images; made when asked for.
            clock: where the training stands.
        """


class EMA(Averaging):
    """An exponential moving average of weights and normalisation statistics."""

    kind: Literal["ema"] = "ema"
    decay: Fraction = 0.999
    """What the average keeps of itself at every step."""

    def share(self, clock: Clock) -> float:
        """The same small part at every step, or as its schedule says."""
        return 1 - at(self.decay, clock)


class SWA(Averaging):
    """The equal average of the weights after each epoch from one on (arXiv:1803.05407).

    Batch normalisation is measured anew before each evaluation, as the paper does: averaged running
    statistics are those of networks that lie far apart, and no statistics of the network in their
    middle. Until the first epoch of the average, the network's own weights are evaluated.
    """

    kind: Literal["swa"] = "swa"
    start: PositiveInt
    """The first epoch whose weights, at its end, belong to the average."""
    images: PositiveInt = 10_000
    """Augmented training images that normalisation is measured on, in whole batches."""

    def share(self, clock: Clock) -> float:
        """At an epoch's end an equal part of all so far; all of it, while it has not begun."""
        epoch, into = divmod(clock.step + 1, clock.steps_per_epoch)
        return 0.0 if into else 1 / max(1, epoch - self.start + 1)

    def settle(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        batches: Iterable[Tensor],
        clock: Clock,
    ) -> None:
        """Measure batch normalisation anew, once there is more than one epoch in the average."""
        if clock.epoch > self.start:
            remeasure(network, forward, _first(batches, self.images))


def _kind_by_default(given: Any) -> Any:
    """`{decay: 0.9}` means EMA: it was the only average once."""
    return {"kind": "ema", **given} if isinstance(given, dict) else given


Average = Annotated[EMA | SWA, Field(discriminator="kind"), BeforeValidator(_kind_by_default)]


def remeasure(
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
def holding(network: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
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
