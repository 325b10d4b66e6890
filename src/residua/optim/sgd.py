"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from residua.config import Config
from residua.schedules import Fraction, NonNegative, TrainingProgress, bounds, value_at


class SGD(Config):
    """SGD with momentum, coupled weight decay, and Nesterov's look ahead where asked for.

    The update is `torch.optim.SGD`'s; rate, momentum and decay may follow schedules.
    """

    kind: Literal["sgd"] = "sgd"
    lr: NonNegative = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 5e-4
    decay_filter: Literal["all", "weights"] = "all"
    """Whether the decay acts on everything, or not on normalisation and biases."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SGD":
        if self.nesterov and min(bounds(self.momentum)) <= 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """An optimiser of the network's trainable parameters, at the values of step 0."""
        groups = self.groups(weight for weight in network.parameters() if weight.requires_grad)
        optimizer = torch.optim.SGD(
            groups, lr=0.1, momentum=0.9, nesterov=self.nesterov, fused=True
        )
        skip_overflowed_steps(optimizer)
        self.set_progress(optimizer, TrainingProgress(0, 1, 1))
        return optimizer

    def groups(self, parameters: Iterable[Tensor]) -> list[dict[str, Any]]:
        """The parameters in groups that are decayed or not."""
        split: dict[bool, list[Tensor]] = {True: [], False: []}
        for weight in parameters:
            split[self.decay_filter == "all" or weight.ndim > 1].append(weight)
        return [{"params": found, "decays": decays} for decays, found in split.items() if found]

    def set_progress(self, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Give the optimiser the rate, momentum and decay of this moment."""
        decay = value_at(self.weight_decay, progress)
        for group in optimizer.param_groups:
            group["lr"] = value_at(self.lr, progress) * progress.lr_scale
            group["momentum"] = value_at(self.momentum, progress)
            group["weight_decay"] = decay if group["decays"] else 0.0


def skip_overflowed_steps(optimizer: torch.optim.SGD) -> None:
    """Let the gradient scaler of float16 leave out a step itself, not the fused kernel.

    The kernel leaves the momentum of a first step that overflowed as the memory happened to be.
    """
    optimizer._step_supports_amp_scaling = False
