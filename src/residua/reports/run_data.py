"""What reports read of a run's JSON files, and the figures that follow from them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from residua.data import Data
from residua.recipes.recipe import Recipe
from residua.runs.environment import RunEnvironment
from residua.runs.records import DataFingerprint, EpochRecord, InitRecord, Metrics, Result
from residua.runs.run import Run


@dataclass(frozen=True)
class EvaluatedEpoch:
    """An epoch after which a split was evaluated."""

    record: EpochRecord
    metrics: Metrics
    """Of the selection split."""

    @property
    def epoch(self) -> int:
        """Its number, from 1."""
        return self.record.epoch

    @property
    def accuracy(self) -> float:
        """On the selection split, in percent."""
        return self.metrics.accuracy

    @property
    def gap(self) -> float:
        """Training accuracy minus the selection split's, in points."""
        return self.record.train_accuracy - self.accuracy


@dataclass(frozen=True)
class RunData:
    """A run, finished or not, as its JSON files tell it."""

    path: Path
    recipe: Recipe
    records: tuple[EpochRecord, ...] = ()
    """The finished epochs, oldest first."""
    result: Result | None = None
    """None while the run is unfinished."""
    environment: RunEnvironment = field(default_factory=RunEnvironment)
    fingerprint: DataFingerprint = field(default_factory=DataFingerprint)
    init: InitRecord | None = None
    """The trained network that the training started from."""

    @classmethod
    def read(cls, run: Run) -> "RunData":
        """Read a run.

        Raises:
            UserError: one of its files is damaged.
        """
        records = tuple(run.log)
        environment, result = run.environment, run.result
        return cls(run.path, run.recipe, records, result, environment, run.data, run.init)

    @property
    def title(self) -> str:
        """The recipe and the data that it was trained on."""
        return f"{self.recipe.name} on {self.recipe.data.label}"

    @cached_property
    def evaluated(self) -> tuple[EvaluatedEpoch, ...]:
        """The epochs that were evaluated."""
        pairs = ((record, record.evaluation) for record in self.records)
        return tuple(EvaluatedEpoch(record, metrics) for record, metrics in pairs if metrics)

    @property
    def selection_split(self) -> str:
        """`holdout` or `test`: the split that is evaluated and that selects the best epoch."""
        for epoch in self.evaluated:
            if epoch.record.evaluated_split:
                return epoch.record.evaluated_split
        return "holdout" if self.recipe.data.holdout else "test"

    @property
    def finished_epochs(self) -> int:
        """How many epochs are finished."""
        return self.records[-1].epoch if self.records else 0

    @property
    def best(self) -> EvaluatedEpoch | None:
        """The first epoch with the highest accuracy."""
        return max(self.evaluated, key=lambda epoch: epoch.accuracy, default=None)

    @property
    def last_evaluated(self) -> EvaluatedEpoch | None:
        """The last epoch, where it was evaluated."""
        last = self.evaluated[-1] if self.evaluated else None
        return last if last and last.record is self.records[-1] else None

    @property
    def target_epoch(self) -> EvaluatedEpoch | None:
        """The first epoch that reached the recipe's target accuracy."""
        return next((epoch for epoch in self.evaluated if epoch.record.target_reached), None)

    @property
    def train_seconds(self) -> float:
        """Of training, without evaluation."""
        return sum(record.seconds for record in self.records)

    @property
    def evaluation_seconds(self) -> float:
        """Of evaluation."""
        return sum(record.evaluation_seconds for record in self.records)

    @property
    def images_per_second(self) -> float | None:
        """While training; None before an epoch is finished."""
        images = sum(record.seconds * record.images_per_second for record in self.records)
        return images / max(self.train_seconds, 1e-9) if self.records else None

    @property
    def test_is_open(self) -> bool:
        """Whether a finished run was never evaluated on the test set."""
        return self.result is not None and self.result.last.test_accuracy is None

    @property
    def evaluated_images(self) -> int | None:
        """How many images the selection split has; None where no file of the run says."""
        if self.selection_split in self.fingerprint.splits:
            return self.fingerprint.splits[self.selection_split].images
        return self.evaluated[-1].metrics.images if self.evaluated else None


REPLICATE_FIELDS = {"name", "seed", "publish", "sync", "tensorboard"}
"""Fields that may differ between runs of one recipe: chance, and where copies go."""


def data_title(data: Data) -> str:
    """A data set's name for people: CIFAR-100, shapes100, or the name of a folder."""
    names = {"cifar100": "CIFAR-100", "cifar10": "CIFAR-10"}
    return Path(data.path).name if data.kind == "folder" else names.get(data.kind, data.kind)


def config_key(recipe: Recipe) -> str:
    """The recipe without `REPLICATE_FIELDS`: equal for runs that differ in chance alone."""
    return recipe.model_dump_json(exclude=REPLICATE_FIELDS)


def replicates_of(run: RunData, others: Iterable[RunData]) -> list[RunData]:
    """Those of the others with this run's recipe and another seed, one for each seed."""
    by_seed = {run.recipe.seed: run}
    for other in others:
        if config_key(other.recipe) == config_key(run.recipe):
            by_seed.setdefault(other.recipe.seed, other)
    return list(by_seed.values())[1:]
