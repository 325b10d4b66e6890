"""Adam with decoupled weight decay."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from residua.optim.base import BaseOptimizer
from residua.schedules import Fraction, NonNegative, TrainingProgress, value_at


class AdamW(BaseOptimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101).

    `torch.optim.AdamW`; the learning rate, the first beta and the weight decay may follow
    schedules.
    """

    kind: Literal["adamw"] = "adamw"
    lr: NonNegative = 1e-3
    betas: tuple[Fraction, Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """Decay rates of the running averages of the gradient and of its square."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the squared gradient's average."""
    weight_decay: NonNegative = 1e-2

    def build_from_groups(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Build `torch.optim.AdamW`."""
        return torch.optim.AdamW(groups, lr=1e-3, eps=self.eps, fused=True)

    def set_progress(self, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Take the values of the schedules at this progress."""
        super().set_progress(optimizer, progress)
        for group in optimizer.param_groups:
            group["betas"] = value_at(self.betas[0], progress), self.betas[1]
