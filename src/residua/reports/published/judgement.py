"""Whether a run is ahead of a published one, within its seed spread, or behind, by one rule."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from residua.reports.kit.formatting import percent, points
from residua.reports.kit.statistics import assumed_half_width, local_std, prediction_half_width
from residua.reports.published import Reference
from residua.reports.run_data import RunData

TEST_IMAGES = 10_000
"""In the test set of CIFAR-100, which all published figures are of."""
Verdict = Literal["ahead", "within its seed spread", "behind"]


@dataclass(frozen=True)
class Judgement:
    """One comparison of accuracies."""

    subject: str
    """Which accuracy is compared."""
    ours: float
    """In percent, as `theirs` is; a mean where runs with several seeds are given."""
    theirs: float
    half_width: float
    """In points: within this distance the two count as equal."""
    basis: str
    """Where the half-width comes from, in words."""

    @property
    def difference(self) -> float:
        """Ours minus theirs, in points."""
        return self.ours - self.theirs

    @property
    def verdict(self) -> Verdict:
        """Whether the difference is larger than the half-width."""
        if abs(self.difference) <= self.half_width:
            return "within its seed spread"
        return "ahead" if self.difference > 0 else "behind"

    @property
    def text(self) -> str:
        """The figures of the comparison."""
        return (
            f"{self.subject}: {percent(self.ours)} against {percent(self.theirs)}, "
            f"{points(self.difference)}; {self.basis}."
        )


def judge(run: RunData, reference: Reference, replicates: Sequence[RunData]) -> list[Judgement]:
    """Compare at the last epoch that both evaluated, and at the end once the run is finished.

    Where that epoch is the end of both, it is judged once. With replicates the mean is judged, by
    the 95 % prediction interval for one further run; otherwise the run by `assumed_half_width`.
    """
    runs = [run, *replicates]
    judgements = []
    curves = [_accuracy_curve(each) for each in runs]
    published = reference.test_accuracies
    common = set(published).intersection(*curves)
    epoch = max(common, default=0)
    if common and not _is_end_of_both(run, epoch, reference):
        split = run.selection_split
        judgements.append(
            _judgement(
                f"At epoch {epoch}, the last one evaluated by both ({split} accuracy)",
                [curve[epoch] for curve in curves],
                published[epoch],
                noise=max(local_std(curve, epoch) for curve in (*curves, published)),
                images=TEST_IMAGES if split == "test" else run.recipe.data.holdout,
            )
        )
    results = [each.result for each in runs if each.result]
    if len(results) < len(runs):
        return judgements
    ends = {
        "last": ([result.last.test_accuracy for result in results], reference.last),
        "best": ([result.best.test_accuracy for result in results], reference.best),
    }
    for name, (accuracies, theirs) in ends.items():
        ours = [accuracy for accuracy in accuracies if accuracy is not None]
        if theirs is not None and len(ours) == len(accuracies):
            subject = f"At the end, {name} epoch (test accuracy)"
            judgements.append(_judgement(subject, ours, theirs, reference.system.rounding))
    return judgements


def _judgement(
    subject: str,
    values: Sequence[float],
    theirs: float,
    rounding: float = 0.0,
    noise: float = 0.0,
    images: int = TEST_IMAGES,
) -> Judgement:
    ours = statistics.mean(values)
    if len(values) > 1:
        half_width = prediction_half_width(values)
        basis = (
            f"a further run is expected within {half_width:.2f} points of the mean of {len(values)}"
        )
    else:
        half_width = assumed_half_width((ours + theirs) / 2, images, noise)
        basis = f"single runs that differ by at most {half_width:.2f} points count as equal"
    if rounding:
        basis += f", plus {rounding:g} for the rounding of the published figure"
    return Judgement(subject, ours, theirs, half_width + rounding, basis)


def _accuracy_curve(run: RunData) -> Mapping[int, float]:
    return {epoch.epoch: epoch.accuracy for epoch in run.evaluated}


def _is_end_of_both(run: RunData, epoch: int, reference: Reference) -> bool:
    """Whether an epoch is the last one of both, evaluated on the test set."""
    ends = {run.finished_epochs, reference.curve.last.epoch if reference.curve else 0}
    return run.result is not None and run.selection_split == "test" and ends == {epoch}
