"""What the log of a run says: best epoch, key epochs, and how far training and test lie apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from residua.runs.run import Run
from residua.training.state import Record

SHARES = (0.10, 0.25, 0.50, 0.75)
"""Of the epochs so far: which ones the table of key epochs shows."""


@dataclass(frozen=True)
class History:
    """The finished epochs of a run."""

    records: Sequence[Record]
    """Oldest first."""
    monitored: str
    """`holdout` or `test`: the split that the best epoch is chosen by."""
    target: float | None = None
    """In percent."""

    @classmethod
    def of(cls, run: Run) -> "History":
        """The history of a run, finished or not."""
        records = run.log
        holdout = any("holdout_accuracy" in record for record in records)
        held = holdout or bool(run.recipe.data.holdout)
        return cls(records, "holdout" if held else "test", run.recipe.target_accuracy)

    @property
    def evaluated(self) -> list[Record]:
        """The epochs that were evaluated."""
        return [record for record in self.records if self.accuracy(record) is not None]

    @property
    def last(self) -> Record | None:
        """The last finished epoch."""
        return self.records[-1] if self.records else None

    @property
    def best(self) -> Record | None:
        """The first epoch with the highest monitored accuracy."""
        return max(self.evaluated, key=lambda record: self.accuracy(record) or 0.0, default=None)

    @property
    def reached(self) -> Record | None:
        """The first epoch that came up to the target."""
        if self.target is None:
            return None
        up = [each for each in self.evaluated if (self.accuracy(each) or 0.0) >= self.target]
        return up[0] if up else None

    def accuracy(self, record: Record) -> float | None:
        """The monitored accuracy of an epoch, in percent; None where it was not evaluated."""
        found: float | None = record.get(f"{self.monitored}_accuracy")
        return found

    def gap(self, record: Record) -> float | None:
        """Training accuracy minus monitored accuracy, in percentage points."""
        accuracy = self.accuracy(record)
        return None if accuracy is None else record["train_accuracy"] - accuracy


def key_epochs(history: History) -> list[tuple[Record, str]]:
    """The epochs that tell the story, oldest first, each with what it stands for.

    A share of the epochs so far is shown by the evaluated epoch nearest to it, and not named where
    that epoch stands for something else.
    """
    if history.last is None:
        return []
    named = {"first": history.records[0], "target reached": history.reached}
    named |= {"best": history.best, "last": history.last}
    reasons: dict[int, list[str]] = {}
    for reason, record in named.items():
        if record is not None:
            reasons.setdefault(record["epoch"], []).append(reason)
    pool = history.evaluated or history.records
    shares: dict[int, list[str]] = {}
    for share in SHARES:
        due = share * history.last["epoch"]
        nearest = min(pool, key=lambda record: abs(record["epoch"] - due))
        shares.setdefault(nearest["epoch"], []).append(f"{100 * share:.0f} %")
    told = {epoch: f"{' and '.join(each)} of the epochs" for epoch, each in shares.items()}
    told |= {epoch: ", ".join(each) for epoch, each in reasons.items()}
    return [
        (record, told[record["epoch"]]) for record in history.records if record["epoch"] in told
    ]


def verdict(gap: float) -> str:
    """What a gap in percentage points says, by a fixed rule."""
    if gap > 15:
        return "the network overfits (more than 15 points)"
    if gap > 5:
        return "a moderate gap (5 to 15 points)"
    if gap >= 0:
        return "the two lie close together (at most 5 points)"
    return (
        "training, with its augmentation and regularisation, is the harder task, "
        "or the network is not yet fitted (below 0)"
    )


def images_of(run: Run, split: str) -> int | None:
    """How many images a split had; None where the run does not say."""
    found: int | None = run.data_fingerprint.get("splits", {}).get(split, {}).get("images")
    return found
