"""Muon: momentum, orthogonalised, for the filters; SGD for the rest."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from residua.config import Config
from residua.optim.sgd import SGD, skip_overflowed_steps
from residua.schedules import Fraction, NonNegative, TrainingProgress, value_at

NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, from Jordan's description of Muon."""


class Muon(Config):
    """Muon on convolutions (Jordan et al., https://kellerjordan.github.io/posts/muon/).

    The momentum of each layer's filters, as a matrix of one row a filter, is replaced by the
    nearest half-orthogonal matrix, found by Newton-Schulz iterations in bfloat16. Everything that
    is not a convolution moves by SGD.
    """

    kind: Literal["muon"] = "muon"
    lr: NonNegative = 0.2
    momentum: Fraction = 0.6
    """Of Nesterov's kind."""
    ns_steps: int = Field(default=3, ge=1)
    """Newton-Schulz iterations."""
    normalize_weights: bool = True
    """Whether every layer's filters are scaled back to a mean square norm of 1 before each step."""
    aux: SGD = SGD(nesterov=True)
    """For normalisation, biases and linear layers."""

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """An optimiser of the network's trainable parameters, at the values of step 0."""
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        filters = [weight for weight in trained if weight.ndim == 4]
        optimizer = MuonSGD(
            filters,
            self.ns_steps,
            self.normalize_weights,
            self.aux.groups([weight for weight in trained if weight.ndim != 4]),
            self.aux.nesterov,
        )
        self.set_progress(optimizer, TrainingProgress(0, 1, 1))
        return optimizer

    def set_progress(self, optimizer: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        """Give the optimiser the rates, momenta and decay of this moment."""
        self.aux.set_progress(optimizer, progress)
        filters = optimizer.param_groups[0]
        filters["lr"] = value_at(self.lr, progress) * progress.lr_scale
        filters["momentum"] = value_at(self.momentum, progress)


class MuonSGD(torch.optim.SGD):
    """Muon for the first group, `torch.optim.SGD` for the others."""

    def __init__(
        self,
        filters: Sequence[Tensor],
        ns_steps: int,
        normalize_weights: bool,
        others: list[dict[str, Any]],
        nesterov: bool,
    ) -> None:
        groups = [{"params": filters, "decays": False}, *others]
        super().__init__(groups, lr=0.1, momentum=0.9, nesterov=nesterov, fused=True)
        self.ns_steps, self.normalize_weights = ns_steps, normalize_weights
        skip_overflowed_steps(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move all weights; the filters' gradients are used up by it."""
        group = self.param_groups[0]
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(weight)
            momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
            ahead = weight.grad.add(momentum, alpha=group["momentum"])
            if self.normalize_weights:
                weight.mul_(len(weight) ** 0.5 / weight.norm())
            weight.sub_(newton_schulz(ahead, self.ns_steps), alpha=group["lr"])
            weight.grad = None
        loss: float | None = super().step(closure)
        return loss


def newton_schulz(filters: Tensor, steps: int) -> Tensor:
    """(O, ...) to the same shape: all singular values of the O rows drawn towards 1."""
    rows = filters.flatten(1).bfloat16()
    rows = rows / (rows.norm() + 1e-7)
    tall = rows.shape[0] > rows.shape[1]
    rows = rows.T if tall else rows
    first, third, fifth = NS_COEFFICIENTS
    for _ in range(steps):
        square = rows @ rows.T
        polynomial = torch.addmm(square, square, square, beta=third, alpha=fifth)
        rows = torch.addmm(rows, polynomial, rows, beta=first)
    return (rows.T if tall else rows).to(filters.dtype).view(filters.shape)
