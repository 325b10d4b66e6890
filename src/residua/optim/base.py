"""What the optimisers have in common: parameter groups and schedules."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.schedules import NonNegative, TrainingProgress, value_at


class BaseOptimizer(Config):
    """Base of optimisers whose learning rate and weight decay may follow schedules."""

    kind: str
    lr: NonNegative
    weight_decay: NonNegative
    decay_filter: Literal["all", "weights"] = "all"
    """What weight decay applies to: all parameters, or all but normalization and biases."""
    bias_lr_scale: float = Field(default=1.0, gt=0)
    """A factor on the learning rate of normalization and biases (Page, How to Train Your ResNet 8;
    64 in Jordan, arXiv:2404.00498). Their weight decay is divided by it, so that a step decays them
    as much as without it."""

    @abstractmethod
    def build_from_groups(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Build torch's optimiser of these parameter groups."""

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """Build an optimiser of the trainable parameters, with the schedules' values at step 0."""
        parameters = [weight for weight in network.parameters() if weight.requires_grad]
        optimizer = self.build_from_groups(self.param_groups(parameters))
        disable_fused_step_skipping(optimizer)
        self.set_progress(optimizer, TrainingProgress(0, 1, 1))
        return optimizer

    def param_groups(self, parameters: Iterable[Tensor]) -> list[dict[str, Any]]:
        """The parameters by weight decay and learning rate: those with weight decay come first."""
        groups: dict[tuple[bool, float], list[Tensor]] = {}
        for parameter in parameters:
            decays = self.decay_filter == "all" or parameter.ndim > 1
            lr_scale = 1.0 if parameter.ndim > 1 else self.bias_lr_scale
            groups.setdefault((decays, lr_scale), []).append(parameter)
        return [
            {"params": groups[key], "decays": key[0], "lr_scale": key[1]}
            for key in sorted(groups, key=lambda key: not key[0])
        ]

    def set_progress(self, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Take the values of the schedules at this progress."""
        lr = value_at(self.lr, progress) * progress.lr_scale
        weight_decay = value_at(self.weight_decay, progress)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
            group["weight_decay"] = weight_decay / group["lr_scale"] if group["decays"] else 0.0


def disable_fused_step_skipping(optimizer: torch.optim.Optimizer) -> None:
    """Make the gradient scaler of float16 skip an overflowed step itself.

    The fused kernel would skip the weights' update, but leave the state of a first step that
    overflowed uninitialised.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
