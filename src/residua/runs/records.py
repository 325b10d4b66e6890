"""What the JSON files of a run contain, as typed values that are checked when they are read.

A run may come from a stranger, so every number has a range and later records must have later steps.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError, field_serializer, model_validator

from residua import files
from residua.augment.tta import TTA
from residua.config import Config
from residua.data import ChannelStats
from residua.errors import UserError
from residua.recipes.recipe import Recipe

Count = Annotated[int, Field(ge=0, le=2**53)]
Positive = Annotated[int, Field(ge=1, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e15)]
Finite = Annotated[float, Field(ge=-1e39, le=1e39)]
"""Any finite float32."""
NonNegative = Annotated[float, Field(ge=0, le=1e39)]
Percent = Annotated[float, Field(ge=0, le=100)]
SMALL_TEST_SET = 100
"""Images below which a test set's figures come with a caution."""
SplitName = Literal["train", "holdout", "test"]
SelectionSplit = Literal["holdout", "test"]


class JsonFile(Config):
    """Base of everything a run stores as JSON; unknown fields are ignored when it is read."""

    model_config = ConfigDict(extra="ignore")

    def to_json_text(self, indent: int | None = None) -> str:
        """JSON; fields at their defaults are left out."""
        tree = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(tree, indent=indent)


class Metrics(JsonFile):
    """The figures of one evaluation of one split."""

    loss: Finite
    """Mean cross-entropy in nats, without label smoothing."""
    accuracy: Percent
    """Top-1, in percent."""
    top5: Percent
    """In percent."""
    images: Count | None = None
    """How many images were evaluated."""

    @property
    def correct(self) -> int | None:
        """How many images were classified correctly; None where their number is unknown."""
        return None if self.images is None else round(self.accuracy * self.images / 100)


class EpochRecord(JsonFile):
    """A finished epoch: a line of log.jsonl."""

    epoch: Positive
    step: Count
    """Optimiser steps taken since the start of the training."""
    train_loss: Finite
    """Mean over the epoch's images, in nats."""
    train_accuracy: Percent
    """Over the epoch's augmented images, in percent, against their own labels."""
    last_loss: Finite | None = None
    """Of the epoch's last batch."""
    steps: Positive | None = None
    """Optimiser steps of this epoch."""
    lr: NonNegative
    """The learning rate of the epoch's last step."""
    grad_norm: NonNegative
    """Mean over the steps, before clipping."""
    grad_norms: dict[str, NonNegative] = {}
    """The same for each layer group."""
    gradient_warning: str | None = None
    seconds: Seconds
    """Of training, evaluation apart."""
    images_per_second: Seconds
    flops: NonNegative | None = None
    """Floating-point operations of the epoch's forward and backward passes."""
    test_loss: Finite | None = None
    test_accuracy: Percent | None = None
    test_top5: Percent | None = None
    test_images: Count | None = None
    holdout_loss: Finite | None = None
    holdout_accuracy: Percent | None = None
    holdout_top5: Percent | None = None
    holdout_images: Count | None = None
    evaluation_seconds: Seconds = 0.0
    target_reached: bool = False
    """Whether the recipe's target accuracy was reached first in this epoch."""
    memory_mib: Seconds = 0.0
    """Peak memory so far."""
    rollbacks: Count = 0
    """How often the training was rolled back so far."""

    @model_validator(mode="after")
    def _evaluations_are_complete(self) -> "EpochRecord":
        for split in ("test", "holdout"):
            values = [getattr(self, f"{split}_{name}") for name in ("loss", "accuracy", "top5")]
            if any(value is None for value in values) and any(v is not None for v in values):
                raise ValueError("an evaluation has loss, accuracy and top-5")
        return self

    @property
    def flops_per_second(self) -> float | None:
        """Sustained while training; None where the operations are unknown."""
        return None if self.flops is None else self.flops / max(self.seconds, 1e-9)

    @property
    def evaluated_split(self) -> SelectionSplit | None:
        """The split that was evaluated after this epoch; None where none was."""
        if self.test_accuracy is not None:
            return "test"
        return None if self.holdout_accuracy is None else "holdout"

    @property
    def evaluated_accuracy(self) -> float | None:
        """Top-1 on the evaluated split, in percent; None where none was evaluated."""
        return self.holdout_accuracy if self.test_accuracy is None else self.test_accuracy

    @property
    def evaluation(self) -> Metrics | None:
        """The figures of the evaluated split; None where none was evaluated."""
        split = self.evaluated_split
        if split is None:
            return None
        return Metrics(
            loss=getattr(self, f"{split}_loss"),
            accuracy=getattr(self, f"{split}_accuracy"),
            top5=getattr(self, f"{split}_top5"),
            images=getattr(self, f"{split}_images"),
        )

    def with_evaluation(
        self, split: SelectionSplit, metrics: Metrics, seconds: float, target_reached: bool
    ) -> "EpochRecord":
        """The record with the figures of an evaluation."""
        return self.replace(
            **{f"{split}_{name}": value for name, value in metrics},
            evaluation_seconds=seconds,
            target_reached=target_reached,
        )


class FinalFigures(JsonFile):
    """The figures of the last or of the best epoch's network.

    Those of the selection split are measured when the training ends. With a holdout the test set is
    only evaluated on purpose, by `residua evaluate`: its figures are in evaluations.json.
    """

    epoch: Positive
    test_loss: Finite | None = None
    test_accuracy: Percent | None = None
    test_top5: Percent | None = None
    holdout_loss: Finite | None = None
    holdout_accuracy: Percent | None = None
    holdout_top5: Percent | None = None

    @model_validator(mode="after")
    def _figures_are_complete(self) -> "FinalFigures":
        if self.metrics("test") is None and self.metrics("holdout") is None:
            raise ValueError("the figures of the test set or of the holdout are needed")
        return self

    @classmethod
    def of(cls, epoch: int, split: SelectionSplit, metrics: Metrics) -> "FinalFigures":
        """The figures of an epoch on one split."""
        return cls.model_validate({"epoch": epoch, **_named_figures(split, metrics)})

    def with_test(self, metrics: Metrics) -> "FinalFigures":
        """These, and the figures of the test set."""
        return self.replace(**_named_figures("test", metrics))

    def accuracy(self, split: SelectionSplit) -> float | None:
        """Top-1 on a split, in percent; None where it was not evaluated."""
        return self.test_accuracy if split == "test" else self.holdout_accuracy

    def metrics(self, split: SelectionSplit) -> Metrics | None:
        """The figures on a split; None where it was not evaluated."""
        values = {name: getattr(self, f"{split}_{name}") for name in ("loss", "accuracy", "top5")}
        missing = [name for name, value in values.items() if value is None]
        if missing and len(missing) < len(values):
            raise ValueError("an evaluation has loss, accuracy and top-5")
        return None if missing else Metrics(**values)


def _named_figures(split: SelectionSplit, metrics: Metrics) -> dict[str, float]:
    figures = {"loss": metrics.loss, "accuracy": metrics.accuracy, "top5": metrics.top5}
    return {f"{split}_{name}": value for name, value in figures.items()}


class Result(JsonFile):
    """The final figures of a finished run: result.json."""

    recipe: str = ""
    seed: Count = 0
    epochs: Positive
    epochs_planned: Count
    selection_split: SelectionSplit
    """The split that the best epoch was selected on."""
    evaluations: Count | None = None
    """How many epochs were evaluated."""
    tta: TTA = "none"
    rollbacks: Count = 0
    environment_changes: tuple[str, ...] = ()
    """Changes of hardware, threads or torch on resumption, which can have changed bits."""
    lost_best_epoch: Count | None = None
    """The best epoch, where its checkpoint was damaged and the last epoch stands in for it."""
    last: FinalFigures
    best: FinalFigures
    target_accuracy: Percent | None = None
    target_epoch: Count | None = None
    """The first epoch that reached the target."""
    train_seconds: Seconds | None = None
    evaluation_seconds: Seconds | None = None
    flops: NonNegative | None = None
    """Floating-point operations of all epochs' forward and backward passes."""

    def with_evaluations(self, evaluations: Iterable["StoredEvaluation"]) -> "Result":
        """The result with the figures of the test set, where the training did not measure them.

        Args:
            evaluations: of the run's own test set; those of the epochs here, with the test-time
                augmentation of the training, are taken.
        """
        by_epoch = {
            each.epoch: each.views[self.tta]
            for each in evaluations
            if each.mode == "eval" and self.tta in each.views
        }

        def complete(figures: FinalFigures) -> FinalFigures:
            measured = by_epoch.get(figures.epoch)
            if measured is None or figures.metrics("test") is not None:
                return figures
            return figures.with_test(measured.metrics)

        return self.replace(last=complete(self.last), best=complete(self.best))


class ViewFigures(JsonFile):
    """The figures of an evaluation; `residua evaluate` may store further ones."""

    loss: Finite
    accuracy: Percent
    top5: Percent | None = None
    """None where there are so few classes that it would always be 100."""
    images: Count | None = None

    @property
    def metrics(self) -> Metrics:
        """These as the figures of an evaluation."""
        top5 = 100.0 if self.top5 is None else self.top5
        return Metrics(loss=self.loss, accuracy=self.accuracy, top5=top5, images=self.images)


class StoredEvaluation(JsonFile):
    """What `residua evaluate` measured on a set of images: evaluations/NAME.json."""

    images: str
    """`train`, `holdout` or `test` of the recipe's data, or the name of another set."""
    epoch: Positive
    """Of the network."""
    mode: Literal["eval", "train"] = "eval"
    """`train` uses batch statistics and dropout."""
    data_sha256: str = ""
    """Of the images and labels."""
    views: dict[TTA, ViewFigures]
    """The figures by test-time augmentation."""


class InitRecord(JsonFile):
    """The trained network that a training started from: init.json."""

    source: str
    sha256: str = ""
    """Of its weights."""
    recipe: str = ""
    """The name of its recipe."""
    epoch: Positive
    classes: Count
    """How many it was trained on."""
    new_head: bool
    """Whether the final linear layer was initialised anew, for other classes."""
    source_normalization: bool
    """Whether images are normalized with the statistics that it was trained with."""


class SplitFingerprint(JsonFile):
    """The size of a split and the SHA-256 of its images and labels."""

    images: Count
    sha256: str = ""


class DataFingerprint(JsonFile):
    """The data that a run was started with: data.json."""

    classes: tuple[str, ...] = ()
    normalization: ChannelStats | None = None
    splits: dict[str, SplitFingerprint] = {}
    notes: tuple[str, ...] = ()
    """What was decided about the data at the start, as sentences."""
    skipped: tuple[str, ...] = ()
    """Files that were left out because they cannot be read, and why."""

    @property
    def has_top5(self) -> bool:
        """Whether top-5 accuracy says anything: it is 100 % with up to five classes."""
        return not self.classes or len(self.classes) > 5

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences on what makes the figures uncertain."""
        images = self.splits["test"].images if "test" in self.splits else None
        if images is None or images >= SMALL_TEST_SET:
            return ()
        if images == 1:
            return (
                "The test set has a single image: its accuracy is 0 or 100 % and says nothing.",
            )
        return (
            f"The test set has only {images} images: each of them is worth {100 / images:.1f} "
            "points of accuracy.",
        )

    def same_images(self, other: "DataFingerprint") -> bool:
        """Whether another run has the same classes, normalization, images and labels."""
        return (self.classes, self.normalization, self.splits) == (
            other.classes,
            other.normalization,
            other.splits,
        )


class CheckpointMetadata(JsonFile):
    """What a checkpoint holds besides tensors."""

    step: Count
    seconds: Seconds
    """Of training in the running epoch."""
    skipped_steps: Count = 0
    """Steps of the running epoch that the gradient scaler skipped."""
    rollbacks: Count = 0
    optimizer: str = ""
    """The class of the optimiser whose state this is."""
    recipe: Recipe | None = None
    """The recipe that the training had."""
    history: tuple[EpochRecord, ...] = ()
    scaler: dict[str, Finite] = {}

    @field_serializer("recipe")
    def _whole_recipe(self, recipe: Recipe | None) -> dict[str, Any] | None:
        # Without its defaults it would lack each `kind`.
        return None if recipe is None else recipe.model_dump(mode="json")

    @model_validator(mode="after")
    def _history_is_complete(self) -> "CheckpointMetadata":
        check_monotonic(self.history)
        if self.history and self.history[-1].epoch != len(self.history):
            raise ValueError("epochs are missing")
        return self


Kind = TypeVar("Kind", bound=JsonFile)


def parse_json(kind: type[Kind], content: bytes | str) -> Kind:
    """Parse and check JSON text.

    Raises:
        ValueError: it is not JSON, exceeds the size limits, or a field is wrong; says which.
    """
    text = content.decode() if isinstance(content, bytes) else content
    try:
        files.check_tree_size(json.loads(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    try:
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the document"
        raise ValueError(f"{field}: {first['msg'].removeprefix('Value error, ')}") from None


def read_json(kind: type[Kind], path: Path) -> Kind | None:
    """Read a JSON file of a run; None where there is none.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        return parse_json(kind, files.read_bytes(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def check_monotonic(records: Sequence[EpochRecord]) -> None:
    """Check that epochs and steps increase.

    Raises:
        ValueError: they do not.
    """
    for before, after in pairwise(records):
        if after.epoch <= before.epoch or after.step <= before.step:
            raise ValueError("epochs and steps must increase")
