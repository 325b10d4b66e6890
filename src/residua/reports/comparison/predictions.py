"""Which test images two runs classify differently."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from residua.inference.uncertainty import McNemarTest, mcnemar_test
from residua.reports.comparison.groups import Group
from residua.reports.kit.statistics import holm
from residua.reports.run_data import RunData
from residua.runs.artifacts import load_predictions
from residua.runs.evaluations import load_evaluations, load_outputs
from residua.runs.run import Run

MAX_PAIRS = 3
"""Pairs of groups that are compared image by image."""


@dataclass(frozen=True)
class TestPredictions:
    """The answers of a run's network on its test set."""

    __test__ = False
    label: str
    """What the run is called in the comparison."""
    network: str
    """Which network it is, in words."""
    classes: tuple[str, ...]
    labels: Tensor
    """(N,) int64."""
    predicted: Tensor
    """(N,) int64."""
    sha256: str
    """Of the test set; empty where it is unknown."""

    @property
    def correct(self) -> Tensor:
        """(N,) bool."""
        return self.predicted == self.labels

    def is_comparable(self, other: "TestPredictions") -> bool:
        """Whether both are answers on the same test set, as far as the runs say."""
        known = self.sha256 and other.sha256
        same = self.classes == other.classes and torch.equal(self.labels, other.labels)
        return same and (not known or self.sha256 == other.sha256)


@dataclass(frozen=True)
class ClassDifference:
    """How many images of a class the two networks classify correctly."""

    name: str
    images: int
    first: int
    second: int
    p: float
    """Of McNemar's test on the images of this class."""
    p_holm: float
    """Corrected for the number of classes."""

    @property
    def points(self) -> float:
        """The first network's accuracy minus the second's."""
        return 100 * (self.first - self.second) / self.images


@dataclass(frozen=True)
class ImageComparison:
    """Two networks on the same images."""

    first: TestPredictions
    second: TestPredictions
    test: McNemarTest
    classes: tuple[ClassDifference, ...]
    """The smallest p first."""

    @property
    def only_first(self) -> Tensor:
        """Indices of the images that only the first network classifies correctly."""
        return (self.first.correct & ~self.second.correct).nonzero().flatten()

    @property
    def only_second(self) -> Tensor:
        """Indices of the images that only the second network classifies correctly."""
        return (self.second.correct & ~self.first.correct).nonzero().flatten()


def read_predictions(run: RunData, label: str) -> TestPredictions | None:
    """The answers of a run's last epoch, else those of a stored evaluation; None without either.

    Raises:
        UserError: files of the run are damaged.
    """
    directory = Run(run.path)
    test_set = run.fingerprint.splits.get("test")
    sha256 = test_set.sha256 if test_set else ""
    predictions = load_predictions(directory)
    if predictions is not None and predictions.split == "test" and len(predictions.labels):
        labels, last = predictions.labels, predictions.last
        return TestPredictions(label, "last epoch", predictions.classes, labels, last, sha256)
    for record in load_evaluations(directory):
        outputs = load_outputs(directory, record.name)
        names = tuple(row.name for row in record.single.classes)
        is_test = record.images == "test" and record.mode == "eval"
        if not is_test or outputs is None or len(names) != outputs.classes:
            continue
        return TestPredictions(
            label,
            f"epoch {record.epoch}, single views",
            names,
            outputs.labels,
            outputs.predicted,
            record.data_sha256,
        )
    return None


def compare_images(first: TestPredictions, second: TestPredictions) -> ImageComparison:
    """Compare two networks on the same images, as a whole and by class."""
    tests = []
    for index, name in enumerate(first.classes):
        chosen = first.labels == index
        if chosen.any():
            tests.append(
                (name, mcnemar_test(first.correct[chosen], second.correct[chosen]), chosen)
            )
    corrected = holm([test.p for _, test, _ in tests])
    classes = [
        ClassDifference(
            name,
            test.images,
            int(first.correct[chosen].sum()),
            int(second.correct[chosen].sum()),
            test.p,
            p_holm,
        )
        for (name, test, chosen), p_holm in zip(tests, corrected, strict=True)
    ]
    ranked = sorted(classes, key=lambda row: (row.p, -abs(row.points), row.name))
    return ImageComparison(
        first, second, mcnemar_test(first.correct, second.correct), tuple(ranked)
    )


def image_comparisons(groups: Sequence[Group]) -> tuple[list[ImageComparison], list[str]]:
    """Compare two runs, or the first runs of each pair of groups.

    Returns:
        The comparisons, at most `MAX_PAIRS`, and sentences on the pairs that cannot be compared.

    Raises:
        UserError: files of a run are damaged.
    """
    pairs = _pairs(groups)
    found, notes = [], []
    for first, second in pairs[:MAX_PAIRS]:
        both = [read_predictions(run, label) for label, run in (first, second)]
        missing = [
            label for (label, _), each in zip((first, second), both, strict=True) if not each
        ]
        if missing:
            notes.append(
                f"{' and '.join(missing)}: no answers on the test set are stored, so images are "
                "not compared. `residua evaluate RUN` stores them."
            )
        elif both[0] and both[1] and both[0].is_comparable(both[1]):
            found.append(compare_images(both[0], both[1]))
        else:
            notes.append(
                f"{first[0]} and {second[0]} have other test sets: images are not compared."
            )
    if len(pairs) > MAX_PAIRS:
        notes.append(f"Images are compared for the first {MAX_PAIRS} of {len(pairs)} pairs only.")
    return found, notes


def _pairs(
    groups: Sequence[Group],
) -> list[tuple[tuple[str, RunData], tuple[str, RunData]]]:
    runs = [(group, run) for group in groups for run in (*group.runs, *group.repeated)]
    if len(runs) == 2:
        chosen = runs
    else:
        chosen = [(group, (group.finished or group.runs)[0]) for group in groups]
    names = [f"{group.label}, seed {run.recipe.seed}" for group, run in chosen]
    if len(set(names)) < len(names):
        names = [str(run.path) for _, run in chosen]
    labelled = [(name, run) for name, (_, run) in zip(names, chosen, strict=True)]
    return list(combinations(labelled, 2))
