"""Gradients of a network in evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def gradients_in_eval_mode(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, with gradients enabled; as it was afterwards."""
    training = network.training
    network.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        network.train(training)
