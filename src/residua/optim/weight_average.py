"""Averages of the weights during a training, evaluated instead of the last weights."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from residua.config import Config
from residua.schedules import Fraction, Probability, TrainingProgress, value_at


class BaseWeightAverage(Config):
    """Base of all averages of weights and batch-norm statistics."""

    def build(self, network: nn.Module) -> dict[str, Tensor]:
        """The average before the first step: a copy of the initial weights."""
        return {name: value.detach().clone() for name, value in network.state_dict().items()}

    @abstractmethod
    def update_weight(self, progress: TrainingProgress) -> float:
        """The weight of the network's current weights in the average after this step."""

    @torch.no_grad()
    def update(
        self, average: dict[str, Tensor], network: nn.Module, progress: TrainingProgress
    ) -> None:
        """Update the average in place, after the optimiser step at this progress."""
        weight = self.update_weight(progress)
        if weight == 0:
            return
        current = network.state_dict()
        floating = [name for name, value in current.items() if value.is_floating_point()]
        # One call for all tensors: on a GPU, a kernel launch for each takes longer than the work.
        averaged = [average[name] for name in floating]
        torch._foreach_lerp_(averaged, [current[name] for name in floating], weight)
        for name in current.keys() - set(floating):
            average[name].copy_(current[name])

    def reestimates_bn(self, progress: TrainingProgress) -> bool:  # noqa: ARG002
        """Whether `update_bn` re-estimates batch norm at this progress."""
        return False

    def update_bn(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        batches: Iterable[Tensor],
        progress: TrainingProgress,
        batch_size: int | None = None,
    ) -> None:
        """Prepare the batch-norm statistics of the averaged network for evaluation.

        Args:
            network: the network, with the averaged weights.
            forward: the network's forward function, in the recipe's precision.
            batches: augmented training images, (N, C, H, W) float32 each; iterated if needed.
            progress: of the training.
            batch_size: images of each batch over all ranks; left out: those of its tensor.
        """


class EMA(BaseWeightAverage):
    """Exponential moving average of weights and batch-norm statistics."""

    kind: Literal["ema"] = "ema"
    decay: Fraction = 0.999
    """The weight of the old average at every step."""

    def update_weight(self, progress: TrainingProgress) -> float:
        """1 - decay, at every step."""
        return 1 - value_at(self.decay, progress)


class Lookahead(BaseWeightAverage):
    """Slow weights that follow the trained ones and replace them (Zhang et al., arXiv:1907.08610).

    Every `interval` steps the slow weights move towards the current ones, which then continue from
    there. With a decay that rises to 1 it is the form of Jordan, arXiv:2404.00498.
    """

    kind: Literal["lookahead"] = "lookahead"
    interval: PositiveInt = 5
    """Steps between updates of the slow weights."""
    decay: Probability = 0.5
    """The weight of the old slow weights at every update."""

    def update_weight(self, progress: TrainingProgress) -> float:
        """1 - decay at every `interval`-th step, else 0."""
        if (progress.step + 1) % self.interval:
            return 0.0
        return 1 - value_at(self.decay, progress)

    def update(
        self, average: dict[str, Tensor], network: nn.Module, progress: TrainingProgress
    ) -> None:
        """Update the slow weights in place, and the network's weights with them."""
        super().update(average, network, progress)
        if (progress.step + 1) % self.interval == 0:
            network.load_state_dict(average)


class SWA(BaseWeightAverage):
    """Stochastic weight averaging: the mean of the weights after each epoch (arXiv:1803.05407).

    The batch-norm statistics are re-estimated before each evaluation, as in the paper: the mean of
    the running statistics of distant networks does not fit the averaged network. The current
    weights are evaluated until `start_epoch`.
    """

    kind: Literal["swa"] = "swa"
    start_epoch: PositiveInt
    """The first epoch whose final weights are part of the average."""
    bn_images: PositiveInt = 10_000
    """Augmented training images to re-estimate batch norm on, in whole batches."""

    def update_weight(self, progress: TrainingProgress) -> float:
        """At the end of an epoch 1 / the number of averaged epochs (1 before the start), else 0."""
        epoch, into = divmod(progress.step + 1, progress.steps_per_epoch)
        return 0.0 if into else 1 / max(1, epoch - self.start_epoch + 1)

    def reestimates_bn(self, progress: TrainingProgress) -> bool:
        """Once the average contains more than one epoch."""
        return progress.epoch > self.start_epoch

    def update_bn(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        batches: Iterable[Tensor],
        progress: TrainingProgress,
        batch_size: int | None = None,
    ) -> None:
        """Re-estimate batch norm if the average contains more than one epoch."""
        if self.reestimates_bn(progress):
            reestimate_bn(network, forward, _take_images(batches, self.bn_images, batch_size))


WeightAverage = Annotated[EMA | Lookahead | SWA, Field(discriminator="kind")]


def reestimate_bn(
    network: nn.Module, forward: Callable[[Tensor], Tensor], batches: Iterable[Tensor]
) -> None:
    """Set the running statistics of batch norm to the mean of their values over some batches.

    All other layers are in evaluation mode meanwhile, so dropout is off and no random numbers are
    drawn. A network without batch norm stays as it is.

    Args:
        network: the network.
        forward: the network's forward function.
        batches: (N, C, H, W) each.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    training = network.training
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


def _take_images(batches: Iterable[Tensor], count: int, batch_size: int | None) -> Iterator[Tensor]:
    """Whole batches of at most `count` images together, but at least one batch."""
    taken = 0
    for batch in batches:
        size = batch_size or len(batch)
        if taken and taken + size > count:
            return
        taken += size
        yield batch


@contextmanager
def swapped_weights(network: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Load other weights, and restore the original ones at the end; an empty dict does nothing."""
    if not weights:
        yield
        return
    original = {name: value.detach().clone() for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    try:
        yield
    finally:
        network.load_state_dict(original)
