"""Several networks as one: the mean of their probabilities, and what each of them adds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from residua.inference.uncertainty import McNemarTest, mcnemar_test


@dataclass(frozen=True)
class Contribution:
    """What one network adds to an ensemble."""

    alone: float
    """Its own accuracy, in percent."""
    cumulative: float
    """The accuracy of the ensemble of the networks up to this one, in their order."""
    without: float | None
    """The accuracy of the ensemble of all others; None where there is only one network."""
    test: McNemarTest | None
    """The whole ensemble (first) against that of all others."""

    @property
    def added(self) -> float | None:
        """The points that the ensemble loses without it."""
        return None if self.test is None else self.test.difference


def ensemble_logits(members: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of the networks' probabilities, which serves as their logits.

    Args:
        members: (N, K) logits of each network.

    Returns:
        (N, K).
    """
    logs = torch.stack([logits.log_softmax(1) for logits in members])
    return logs.logsumexp(0) - math.log(len(members))


def contributions(members: Sequence[Tensor], labels: Tensor) -> list[Contribution]:
    """What each network adds.

    Args:
        members: (N, K) logits of each network.
        labels: (N,) int64.
    """

    def correct(part: Sequence[Tensor]) -> Tensor:
        return ensemble_logits(part).argmax(1) == labels

    whole = correct(members)
    found = []
    for index, logits in enumerate(members):
        others = [*members[:index], *members[index + 1 :]]
        without = correct(others) if others else None
        found.append(
            Contribution(
                alone=_percent(correct([logits])),
                cumulative=_percent(correct(members[: index + 1])),
                without=None if without is None else _percent(without),
                test=None if without is None else mcnemar_test(whole, without),
            )
        )
    return found


def _percent(correct: Tensor) -> float:
    return 100 * int(correct.sum()) / len(correct)
