"""Averages of the weights along a training, evaluated in place of the last weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from residua.schedule import Clock, Fraction, at
from residua.value import Value


class EMA(Value):
    """An exponential moving average of weights and normalisation statistics."""

    kind: Literal["ema"] = "ema"
    decay: Fraction = 0.999
    """What the average keeps of itself at every step."""

    def build(self, network: nn.Module) -> dict[str, Tensor]:
        """The average before the first step: the initial weights."""
        return {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, average: dict[str, Tensor], network: nn.Module, clock: Clock) -> None:
        """Move the average towards the network's weights, in place."""
        share = 1 - at(self.decay, clock)
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, share)
            else:
                average[name].copy_(value)


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
