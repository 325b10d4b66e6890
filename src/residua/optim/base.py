"""What the optimisers have in common: parameter groups and schedules."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Literal

import torch
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
        """The parameters with weight decay, then those without; empty groups are left out."""
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for parameter in parameters:
            groups[self.decay_filter == "all" or parameter.ndim > 1].append(parameter)
        return [{"params": params, "decays": decays} for decays, params in groups.items() if params]

    def set_progress(self, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Take the values of the schedules at this progress."""
        lr = value_at(self.lr, progress) * progress.lr_scale
        weight_decay = value_at(self.weight_decay, progress)
        for group in optimizer.param_groups:
            group["lr"] = lr
            group["weight_decay"] = weight_decay if group["decays"] else 0.0


def disable_fused_step_skipping(optimizer: torch.optim.Optimizer) -> None:
    """Make the gradient scaler of float16 skip an overflowed step itself.

    The fused kernel would skip the weights' update, but leave the state of a first step that
    overflowed uninitialised.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
