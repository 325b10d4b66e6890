"""A small network and its training, for the tests of the optimisers."""

from copy import deepcopy

import torch
from torch import nn

IMAGES = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def small_network(norm: nn.Module | None = None) -> nn.Sequential:
    """Convolution, normalization (default: batch norm) and a linear layer; always equal weights."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4) if norm is None else norm
    return nn.Sequential(nn.Conv2d(3, 4, 3), deepcopy(norm), nn.Flatten(), nn.Linear(16, 2))


def train_steps(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        network(torch.randn(4, 3, 4, 4, generator=generator)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
