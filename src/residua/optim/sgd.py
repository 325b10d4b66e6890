"""Stochastic gradient descent with momentum."""

from typing import Any, Literal

import torch
from pydantic import model_validator

from residua.optim.base import BaseOptimizer
from residua.schedules import Fraction, NonNegative, TrainingProgress, bounds, value_at


class SGD(BaseOptimizer):
    """SGD with momentum and coupled weight decay: `torch.optim.SGD`.

    The learning rate, the momentum and the weight decay may follow schedules.
    """

    kind: Literal["sgd"] = "sgd"
    lr: NonNegative = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 5e-4

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SGD":
        if self.nesterov and min(bounds(self.momentum)) <= 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def build_from_groups(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Build `torch.optim.SGD`."""
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=self.nesterov, fused=True)

    def set_progress(self, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Take the values of the schedules at this progress."""
        super().set_progress(optimizer, progress)
        for group in optimizer.param_groups:
            group["momentum"] = value_at(self.momentum, progress)
