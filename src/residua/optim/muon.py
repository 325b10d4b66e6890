"""Muon for convolution filters, SGD for all other parameters."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.optim.base import disable_fused_step_skipping, lr_scales
from residua.optim.sgd import SGD
from residua.schedules import Fraction, NonNegative, TrainingProgress, value_at

NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration, from Jordan's description of Muon."""


class Muon(Config):
    """Muon for convolutions (Jordan et al., https://kellerjordan.github.io/posts/muon/).

    The momentum of each layer's filters, as a matrix with one row for each filter, is replaced by
    the nearest semi-orthogonal matrix, computed by Newton-Schulz iterations in bfloat16. All other
    parameters are updated by SGD.
    """

    kind: Literal["muon"] = "muon"
    lr: NonNegative = 0.2
    momentum: Fraction = 0.6
    """Nesterov momentum."""
    ns_steps: int = Field(default=3, ge=1)
    """Newton-Schulz iterations."""
    normalize_weights: bool = True
    """Whether to scale each layer's filters to a mean squared norm of 1 before each step."""
    weight_decay: NonNegative = 0.0
    """Decoupled: each step multiplies the filters by 1 - lr * weight_decay. It has no effect with
    `normalize_weights`."""
    aux: SGD = SGD(nesterov=True)
    """The optimiser of normalization, biases and linear layers."""

    def build(self, network: nn.Module, body_lr_scale: float = 1.0) -> torch.optim.Optimizer:
        """Build an optimiser of the trainable parameters, with the schedules' values at step 0.

        Args:
            network: whose parameters.
            body_lr_scale: the factor of the learning rates of all but the final linear layer.
        """
        parameters = [weight for weight in network.parameters() if weight.requires_grad]
        others = (weight for weight in parameters if weight.ndim != 4)
        optimizer = MuonWithAuxSGD(
            [weight for weight in parameters if weight.ndim == 4],
            body_lr_scale,
            self.ns_steps,
            self.normalize_weights,
            self.aux.param_groups(others, lr_scales(network, body_lr_scale)),
            self.aux.nesterov,
        )
        self.set_progress(optimizer, TrainingProgress(0, 1, 1))
        return optimizer

    def lr_at(self, progress: TrainingProgress) -> float:
        """The learning rate of the filters at this progress, where it is not scaled."""
        return value_at(self.lr, progress) * progress.lr_scale

    def set_progress(self, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Take the values of the schedules at this progress."""
        self.aux.set_progress(optimizer, progress)
        filters = optimizer.param_groups[0]
        filters["lr"] = self.lr_at(progress) * filters["lr_scale"]
        filters["momentum"] = value_at(self.momentum, progress)
        filters["weight_decay"] = value_at(self.weight_decay, progress)


class MuonWithAuxSGD(torch.optim.SGD):
    """Muon for the first parameter group, `torch.optim.SGD` for the others."""

    def __init__(
        self,
        filters: Sequence[Tensor],
        lr_scale: float,
        ns_steps: int,
        normalize_weights: bool,
        aux_groups: list[dict[str, Any]],
        nesterov: bool,
    ) -> None:
        filter_group = {"params": filters, "decays": False, "lr_scale": lr_scale}
        groups = [filter_group | {"decay_divisor": 1.0}, *aux_groups]
        super().__init__(groups, lr=0.1, momentum=0.9, nesterov=nesterov, fused=True)
        self.ns_steps, self.normalize_weights = ns_steps, normalize_weights
        disable_fused_step_skipping(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters; the gradients of the filters are None afterwards."""
        group = self.param_groups[0]
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(weight)
            momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
            update = weight.grad.add(momentum, alpha=group["momentum"])
            if self.normalize_weights:
                weight.mul_(len(weight) ** 0.5 / weight.norm())
            elif group["weight_decay"] > 0:
                weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.sub_(newton_schulz(update, self.ns_steps), alpha=group["lr"])
            weight.grad = None
        loss: float | None = super().step(closure)
        return loss


def newton_schulz(filters: Tensor, steps: int) -> Tensor:
    """Move the singular values of the filters, as a matrix with O rows, towards 1.

    Args:
        filters: (O, ...).
        steps: Newton-Schulz iterations.

    Returns:
        A tensor of the same shape.
    """
    rows = filters.flatten(1).bfloat16()
    rows = rows / (rows.norm() + 1e-7)
    tall = rows.shape[0] > rows.shape[1]
    rows = rows.T if tall else rows
    a, b, c = NS_COEFFICIENTS
    for _ in range(steps):
        gram = rows @ rows.T
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        rows = torch.addmm(rows, polynomial, rows, beta=a)
    return (rows.T if tall else rows).to(filters.dtype).view(filters.shape)
