"""Muon: momentum, orthogonalised, for the filters; SGD for the rest."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from residua.optim.sgd import SGD, leave_out_overflows
from residua.schedule import Clock, Fraction, NonNegative, at
from residua.value import Value

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, from Jordan's description of Muon."""


class Muon(Value):
    """Muon on convolutions (Jordan et al., https://kellerjordan.github.io/posts/muon/).

    The momentum of each layer's filters, as a matrix of one row a filter, is replaced by the
    nearest half-orthogonal matrix, found by Newton-Schulz iterations in bfloat16. Everything that
    is not a convolution moves by SGD.
    """

    kind: Literal["muon"] = "muon"
    lr: NonNegative = 0.2
    momentum: Fraction = 0.6
    """Of Nesterov's kind."""
    iterations: int = Field(default=3, ge=1)
    """Newton-Schulz iterations."""
    rescaled: bool = True
    """Whether every layer's filters are scaled back to a mean square norm of 1 before each step."""
    rest: SGD = SGD(nesterov=True)
    """For normalisation, biases and linear layers."""

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """An optimiser of the network's trainable parameters, at the values of step 0."""
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        filters = [weight for weight in trained if weight.ndim == 4]
        optimizer = MuonSGD(
            filters,
            self.iterations,
            self.rescaled,
            self.rest.groups([weight for weight in trained if weight.ndim != 4]),
            self.rest.nesterov,
        )
        self.set_clock(optimizer, Clock(0, 1, 1))
        return optimizer

    def set_clock(self, optimizer: torch.optim.Optimizer, clock: Clock) -> None:
        """Give the optimiser the rates, momenta and decay of this moment."""
        self.rest.set_clock(optimizer, clock)
        filters = optimizer.param_groups[0]
        filters["lr"] = at(self.lr, clock) * clock.slowed
        filters["momentum"] = at(self.momentum, clock)


class MuonSGD(torch.optim.SGD):
    """Muon for the first group, `torch.optim.SGD` for the others."""

    def __init__(
        self,
        filters: Sequence[Tensor],
        iterations: int,
        rescaled: bool,
        others: list[dict[str, Any]],
        nesterov: bool,
    ) -> None:
        groups = [{"params": filters, "decays": False}, *others]
        super().__init__(groups, lr=0.1, momentum=0.9, nesterov=nesterov, fused=True)
        self.iterations, self.rescaled = iterations, rescaled
        leave_out_overflows(self)

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
            if self.rescaled:
                weight.mul_(len(weight) ** 0.5 / weight.norm())
            weight.sub_(orthogonalised(ahead, self.iterations), alpha=group["lr"])
            weight.grad = None
        loss: float | None = super().step(closure)
        return loss


def orthogonalised(filters: Tensor, iterations: int) -> Tensor:
    """(O, ...) to the same shape: all singular values of the O rows drawn towards 1."""
    rows = filters.flatten(1).bfloat16()
    rows = rows / (rows.norm() + 1e-7)
    tall = rows.shape[0] > rows.shape[1]
    rows = rows.T if tall else rows
    first, third, fifth = QUINTIC
    for _ in range(iterations):
        square = rows @ rows.T
        polynomial = torch.addmm(square, square, square, beta=third, alpha=fifth)
        rows = torch.addmm(rows, polynomial, rows, beta=first)
    return (rows.T if tall else rows).to(filters.dtype).view(filters.shape)
