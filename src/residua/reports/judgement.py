"""Whether a run is ahead of a published one, within its seed spread, or behind: by one rule."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from residua.reports.history import History, images_of
from residua.reports.published import Reference
from residua.reports.seeds import assumed, prediction, unrest
from residua.reports.words import percent, points
from residua.runs.run import Run

IMAGES = 10_000
"""Of CIFAR-100's test set, where the run does not say how many it has."""
ChecksumResult = Literal["ahead", "within its seed spread", "behind"]


@dataclass(frozen=True)
class Judgement:
    """One comparison of accuracies."""

    what: str
    """Which accuracy is compared."""
    ours: float
    """In percent, as `theirs` is; a mean where runs of several seeds are given."""
    theirs: float
    half_width: float
    """In points: within this distance the two count as equal."""
    basis: str
    """How the half-width came about, in words."""

    @property
    def difference(self) -> float:
        """Ours minus theirs, in points."""
        return self.ours - self.theirs

    @property
    def verdict(self) -> ChecksumResult:
        """By the rule: further away than the half-width, or not."""
        if abs(self.difference) <= self.half_width:
            return "within its seed spread"
        return "ahead" if self.difference > 0 else "behind"

    @property
    def figures(self) -> str:
        """Both accuracies, how far they lie apart, and how far counts as equal."""
        return (
            f"{percent(self.ours)} against {percent(self.theirs)}, {points(self.difference)}; "
            f"{self.basis}"
        )


def judge(
    run: Run, history: History, reference: Reference, siblings: Sequence[Run]
) -> list[Judgement]:
    """At the last epoch that both have, and at the end where the run has ended; once if it is one.

    Of several seeds the mean is judged, by its 95 % prediction interval for one further run; of a
    single run the run itself, by the assumed half-width (`seeds.assumed`).
    """
    relatives = [run, *siblings]
    curves = [_curve(History.of(each)) for each in relatives]
    theirs = {
        point.epoch: point.test_accuracy
        for point in (reference.curve.points if reference.curve else ())
    }
    split = history.monitored
    found = []
    common = set(theirs).intersection(*curves)
    epoch = max(common, default=0)
    if common and not _is_end(run, history, epoch, reference):
        noise = max(unrest(each, epoch) for each in (*curves, theirs))
        values = [each[epoch] for each in curves]
        what = f"At epoch {epoch}, the last one that both have evaluated ({split} accuracy)"
        found.append(_judged(what, values, theirs[epoch], 0.0, noise, _images(run, split)))
    ended = [each.result for each in relatives]
    for which, published in (("last", reference.last), ("best", reference.best)):
        values = [each[which]["test_accuracy"] for each in ended if each is not None]
        if run.result is None or published is None or len(values) != len(relatives):
            continue
        rounding, images = reference.system.rounding, _images(run, "test")
        what = f"At the end, {which} epoch (test accuracy)"
        found.append(_judged(what, values, published, rounding, 0.0, images))
    return found


def _judged(
    what: str, values: Sequence[float], theirs: float, rounding: float, noise: float, images: int
) -> Judgement:
    ours = statistics.mean(values)
    if len(values) > 1:
        half = prediction(values)
        basis = f"a further run is expected within {half:.2f} points of the mean of {len(values)}"
    else:
        half = assumed((ours + theirs) / 2, images, noise)
        basis = f"single runs that differ by at most {half:.2f} points count as equal"
    if rounding:
        basis += f", and {rounding:g} for the rounding of the published figure"
    return Judgement(what, ours, theirs, half + rounding, basis)


def _curve(history: History) -> Mapping[int, float]:
    """The monitored accuracy in percent of each evaluated epoch."""
    return {record["epoch"]: history.accuracy(record) or 0.0 for record in history.evaluated}


def _is_end(run: Run, history: History, epoch: int, reference: Reference) -> bool:
    """Whether an epoch is the last one of both, and of the test set."""
    last = history.last["epoch"] if history.last else 0
    ends = {last, reference.curve.last.epoch if reference.curve else 0}
    return run.result is not None and history.monitored == "test" and ends == {epoch}


def _images(run: Run, split: str) -> int:
    return images_of(run, split) or IMAGES
