"""What the optimisers have in common: parameter groups and schedules."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.models import ResidualNetwork
from residua.schedules import NonNegative, TrainingProgress, value_at

NOT_SCALED: Mapping[Tensor, float] = {}
"""The learning rate of every parameter is that of the recipe."""


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

    def build(self, network: nn.Module, body_lr_scale: float = 1.0) -> torch.optim.Optimizer:
        """Build an optimiser of the trainable parameters, with the schedules' values at step 0.

        Args:
            network: whose parameters.
            body_lr_scale: the factor of the learning rate of all but the final linear layer.
        """
        parameters = [weight for weight in network.parameters() if weight.requires_grad]
        groups = self.param_groups(parameters, lr_scales(network, body_lr_scale))
        optimizer = self.build_from_groups(groups)
        disable_fused_step_skipping(optimizer)
        self.set_progress(optimizer, TrainingProgress(0, 1, 1))
        return optimizer

    def param_groups(
        self, parameters: Iterable[Tensor], lr_scales: Mapping[Tensor, float] = NOT_SCALED
    ) -> list[dict[str, Any]]:
        """The parameters by learning rate and weight decay: those with weight decay come first.

        Those whose learning rate `lr_scales` makes smaller come behind all others.

        Args:
            parameters: what is trained.
            lr_scales: a further factor of each learning rate, where it is not 1.
        """
        groups: dict[tuple[float, bool, float], list[Tensor]] = {}
        for parameter in parameters:
            decays = self.decay_filter == "all" or parameter.ndim > 1
            bias_scale = 1.0 if parameter.ndim > 1 else self.bias_lr_scale
            key = lr_scales.get(parameter, 1.0), decays, bias_scale
            groups.setdefault(key, []).append(parameter)
        return [
            {
                "params": groups[scale, decays, bias_scale],
                "decays": decays,
                "lr_scale": scale * bias_scale,
                "decay_divisor": bias_scale,
            }
            for scale, decays, bias_scale in sorted(groups, key=lambda key: (-key[0], not key[1]))
        ]

    def lr_at(self, progress: TrainingProgress) -> float:
        """The learning rate at this progress, where it is not scaled."""
        return value_at(self.lr, progress) * progress.lr_scale

    def set_progress(self, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Take the values of the schedules at this progress."""
        lr = self.lr_at(progress)
        weight_decay = value_at(self.weight_decay, progress)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
            divisor = group["decay_divisor"]
            group["weight_decay"] = weight_decay / divisor if group["decays"] else 0.0


def lr_scales(network: nn.Module, body: float) -> Mapping[Tensor, float]:
    """The factor of the learning rate of each parameter; those not in it have a factor of 1.

    Args:
        network: a `ResidualNetwork` where `body` is not 1.
        body: the factor of all parameters but those of the final linear layer.
    """
    if body == 1:
        return NOT_SCALED
    assert isinstance(network, ResidualNetwork)
    head = set(network.head[-1].parameters())
    return {parameter: body for parameter in network.parameters() if parameter not in head}


def disable_fused_step_skipping(optimizer: torch.optim.Optimizer) -> None:
    """Make the gradient scaler of float16 skip an overflowed step itself.

    The fused kernel would skip the weights' update, but leave the state of a first step that
    overflowed uninitialised.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
