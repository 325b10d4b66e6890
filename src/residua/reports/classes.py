"""Which classes a network knows, and which ones it takes for one another."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassScore:
    """How many images of a class were recognised."""

    name: str
    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * self.correct / self.images


@dataclass(frozen=True)
class Pair:
    """Images of one class that were taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """Of the true class's images, in percent."""


def confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """(N,) true and (N,) predicted labels to counts (classes, classes) int64, true by predicted."""
    places = labels * classes + predicted
    return torch.bincount(places, minlength=classes**2).reshape(classes, classes)


def scores(matrix: Tensor, names: tuple[str, ...]) -> list[ClassScore]:
    """Every class that has images, the best one first."""
    found = [
        ClassScore(name, correct, images)
        for name, correct, images in zip(
            names, matrix.diagonal().tolist(), matrix.sum(1).tolist(), strict=True
        )
        if images
    ]
    return sorted(found, key=lambda score: (-score.accuracy, score.name))


def most_confused(matrix: Tensor, names: tuple[str, ...], most: int) -> list[Pair]:
    """The pairs of classes that are taken for one another most often, at most `most`."""
    images = matrix.sum(1)
    wrong = matrix - torch.diag(matrix.diagonal())
    places = wrong.flatten().argsort(descending=True, stable=True)[:most].tolist()
    pairs = [divmod(place, len(names)) for place in places]
    return [
        Pair(
            names[true],
            names[predicted],
            int(wrong[true, predicted]),
            float(100 * wrong[true, predicted] / images[true]),
        )
        for true, predicted in pairs
        if wrong[true, predicted] > 0
    ]


def adjacent(matrix: Tensor) -> Tensor:
    """An order (classes,) int64 in which classes that are confused lie near one another.

    Chains of classes, at first of one class each, are joined two by two, always those with the
    highest mean confusion between them, and by those ends that are confused most.
    """
    mutual = (matrix + matrix.T).double()
    chains = [[place] for place in range(len(mutual))]
    between, sizes = mutual.clone(), torch.ones(len(mutual), dtype=torch.float64)
    while len(chains) > 1:
        mean = (between / (sizes[:, None] * sizes)).fill_diagonal_(-1)
        first, second = sorted(divmod(int(mean.argmax()), len(chains)))
        chains[first] = _joined(chains[first], chains.pop(second), mutual)
        between[first] += between[second]
        between[:, first] += between[:, second]
        sizes[first] += sizes[second]
        rest = torch.arange(len(sizes)) != second
        between, sizes = between[rest][:, rest], sizes[rest]
    return torch.tensor(chains[0])


def _joined(left: list[int], right: list[int], mutual: Tensor) -> list[int]:
    ways = [(a, b) for a in (left, left[::-1]) for b in (right, right[::-1])]
    one, other = max(ways, key=lambda way: float(mutual[way[0][-1], way[1][0]]))
    return one + other
