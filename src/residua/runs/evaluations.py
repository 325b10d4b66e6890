"""The evaluations of a run: evaluations/NAME.json with all figures, and NAME.safetensors beside it.

The safetensors file has the logits, so that other figures need no further pass over the images.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from safetensors.torch import save
from torch import Tensor

from residua import files
from residua.augment.tta import TTA
from residua.errors import UserError
from residua.runs.records import (
    Count,
    Finite,
    JsonFile,
    Percent,
    Positive,
    read_json,
)
from residua.runs.run import CORRUPTIONS, EVALUATIONS, MAX_EVALUATIONS, Run

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_BYTES = 2**31
"""The largest file of logits that is read."""
Mode = Literal["eval", "train"]
"""`train` uses batch statistics and dropout, as a network that is never switched to evaluation."""
Severity = Annotated[int, Field(ge=1, le=5)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Interval(JsonFile):
    """A 95 % confidence interval, in the unit of its figure."""

    low: Finite
    high: Finite


class Intervals(JsonFile):
    """The 95 % confidence intervals of one evaluation, in percent."""

    accuracy_wilson: Interval
    """Wilson's score interval (JASA 22, 1927)."""
    accuracy: Interval
    """The percentile bootstrap over images, as the two below."""
    macro_f1: Interval
    ece: Interval


class ClassFigures(JsonFile):
    """One class, or one superclass."""

    name: str
    images: Count
    predicted: Count
    """How many images were classified as it."""
    correct: Count
    precision: Percent
    """0 where nothing was classified as it."""
    recall: Percent
    """The accuracy on its images."""
    f1: Percent


class ConfusedPair(JsonFile):
    """Images of one class that were classified as another."""

    true: str
    predicted: str
    count: Positive
    share: Percent
    """Of the true class's images."""


class ReliabilityBin(JsonFile):
    """The images whose confidence lies in one interval."""

    low: Probability
    high: Probability
    images: Count
    confidence: Percent
    """Mean probability of the predicted class; 0 without images, as the accuracy."""
    accuracy: Percent


class Calibrated(JsonFile):
    """The figures with logits divided by a temperature (Guo et al., arXiv:1706.04599)."""

    temperature: Annotated[float, Field(gt=0, le=1e6)]
    """Minimises the loss on the holdout."""
    loss: Finite
    ece: Percent
    reliability: tuple[ReliabilityBin, ...]


class Figures(JsonFile):
    """All figures of logits and labels; percentages are in percent."""

    images: Positive
    loss: Finite
    """Mean cross-entropy in nats."""
    accuracy: Percent
    top5: Percent | None = None
    """None with five classes or fewer."""
    balanced_accuracy: Percent
    """The mean recall of the classes that have images (macro recall)."""
    macro_precision: Percent
    """The mean of the classes that have images, as macro F1."""
    macro_f1: Percent
    ece: Percent
    """Expected calibration error, 15 bins of equal width."""
    intervals: Intervals
    reliability: tuple[ReliabilityBin, ...]
    calibrated: Calibrated | None = None
    """None where there is no holdout to fit a temperature on."""
    classes: tuple[ClassFigures, ...]
    superclass_accuracy: Percent | None = None
    """How often the predicted class belongs to the right superclass."""
    superclasses: tuple[ClassFigures, ...] = ()
    confused: tuple[ConfusedPair, ...] = ()
    """The most confused pairs of classes."""
    confusion: tuple[tuple[Count, ...], ...] = ()
    """The confusion matrix, true by predicted; empty where there are more than 100 classes."""

    @model_validator(mode="after")
    def _confusion_is_square(self) -> "Figures":
        sizes = {len(self.confusion), *map(len, self.confusion)}
        if self.confusion and sizes != {len(self.classes)}:
            raise ValueError("the confusion matrix has a row and a column for each class")
        return self

    @property
    def correct(self) -> int:
        """Images classified correctly."""
        return round(self.accuracy * self.images / 100)


class EvaluationRecord(JsonFile):
    """evaluations/NAME.json: a network on a set of images."""

    format_version: Literal[1] = 1
    name: str
    """Of the file."""
    images: str
    """`test`, `holdout` or `train` of the recipe's data, or the name of a folder."""
    epoch: Positive
    model_sha256: str = ""
    """As model.json has it."""
    data_sha256: str = ""
    """Of the images and labels."""
    mode: Mode = "eval"
    seed: Count = 0
    """Of the bootstrap, and of dropout where it is active."""
    batch_size: Positive | None = None
    """Of the batch statistics, in mode train."""
    views: dict[TTA, Figures]
    """`none` has each image once; test-time augmentation is under its own name."""

    @model_validator(mode="after")
    def _has_single_views(self) -> "EvaluationRecord":
        if "none" not in self.views:
            raise ValueError("an evaluation has figures of single views")
        return self

    @property
    def single(self) -> Figures:
        """The figures of each image once, without test-time augmentation."""
        return self.views["none"]


class CorruptionRecord(JsonFile):
    """evaluations/corruptions.json: accuracies on corrupted test images."""

    format_version: Literal[1] = 1
    epoch: Positive
    model_sha256: str = ""
    data_sha256: str = ""
    """Of the images before their corruption."""
    images: Positive
    seed: Count = 0
    tta: TTA = "none"
    clean: Percent
    """Accuracy on the uncorrupted images."""
    accuracies: Annotated[dict[str, tuple[Percent, ...]], Field(min_length=1)]
    """By kind, for each severity."""
    severities: tuple[Severity, ...] = (1, 2, 3, 4, 5)

    @model_validator(mode="after")
    def _every_kind_has_every_severity(self) -> "CorruptionRecord":
        if any(len(values) != len(self.severities) for values in self.accuracies.values()):
            raise ValueError("every kind has an accuracy for each severity")
        return self

    @property
    def errors(self) -> dict[str, float]:
        """The error of each kind, in percent: the mean over severities."""
        return {kind: 100 - sum(v) / len(v) for kind, v in self.accuracies.items()}

    @property
    def mean_error(self) -> float:
        """The mean over kinds of their errors, in percent, without a reference network."""
        return sum(self.errors.values()) / len(self.errors)

    def relative_error(self, reference: "CorruptionRecord") -> float:
        """The mean corruption error relative to a reference network, in percent.

        The errors of each kind, summed over severities, are divided by the reference's; then the
        mean over kinds is taken (Hendrycks and Dietterich, arXiv:1903.12261, section 4.1).

        Raises:
            UserError: the two have other images, kinds or seeds, or the reference makes no mistakes
                on a kind.
        """
        reference.check_comparable(self.data_sha256, self.seed, self.tta, self.accuracies)
        ratios = [self.errors[kind] / error for kind, error in reference.errors.items()]
        return 100 * sum(ratios) / len(ratios)

    def check_comparable(self, data_sha256: str, seed: int, tta: TTA, kinds: Iterable[str]) -> None:
        """Check that errors on these corruptions can be set in relation to those of this record.

        Raises:
            UserError: they cannot.
        """
        if (self.data_sha256, self.seed, self.tta) != (data_sha256, seed, tta):
            raise UserError("the reference was evaluated on other images, with other seed or TTA")
        if set(kinds) != self.accuracies.keys():
            raise UserError("the reference was evaluated on other kinds of corruption")
        if not all(self.errors.values()):
            raise UserError("the reference makes no mistakes on one kind of corruption")

    def merged_with(self, earlier: "CorruptionRecord | None") -> "CorruptionRecord":
        """The record with the kinds of an earlier one, where that is of the same evaluation."""
        if earlier is None:
            return self
        same = ("model_sha256", "data_sha256", "seed", "tta", "severities")
        if any(getattr(self, name) != getattr(earlier, name) for name in same):
            return self
        return self.replace(accuracies=earlier.accuracies | self.accuracies)


@dataclass(frozen=True)
class Outputs:
    """What a network answered: the logits of a set of images, on the CPU."""

    labels: Tensor
    """(N,) int64."""
    logits: Tensor
    """(N, K) float32: of each image once."""
    averaged: Tensor | None = None
    """(N, K) float32: averaged over test-time augmentation, where there was any."""

    def __post_init__(self) -> None:
        for logits in (self.logits, self.averaged):
            if logits is not None and not (
                logits.dtype == torch.float32
                and logits.ndim == 2
                and logits.shape == self.logits.shape
                and len(logits) == len(self.labels)
                and bool(logits.isfinite().all())
            ):
                raise ValueError("logits must be finite float32 (N, K)")
        valid = self.labels.dtype == torch.int64 and self.labels.ndim == 1 and len(self.labels) > 0
        if not valid or int(self.labels.min()) < 0 or int(self.labels.max()) >= self.classes:
            raise ValueError("labels must be int64 (N,), each a class")

    @property
    def classes(self) -> int:
        """K."""
        return self.logits.shape[1]

    @property
    def predicted(self) -> Tensor:
        """(N,) int64: the most probable class of each image, seen once."""
        return self.logits.argmax(1)

    def views(self, tta: TTA) -> dict[TTA, Tensor]:
        """The logits by test-time augmentation.

        Args:
            tta: what `averaged` is averaged over.
        """
        views: dict[TTA, Tensor] = {"none": self.logits}
        return views if self.averaged is None else views | {tta: self.averaged}


def check_name(name: str) -> str:
    """The name of an evaluation, which is that of a file.

    Raises:
        UserError: it cannot be one.
    """
    if not NAME.fullmatch(name) or name == CORRUPTIONS:
        raise UserError(f"--name {name!r}: use letters, digits, dots, dashes, at most 64")
    return name


def save_evaluation(run: Run, record: EvaluationRecord, outputs: Outputs) -> Path:
    """Store an evaluation in a run; one of the same name is replaced.

    Returns:
        The path of its JSON file.

    Raises:
        UserError: the name cannot be that of a file.
        OSError: a file cannot be written.
    """
    path = _directory(run) / f"{check_name(record.name)}.json"
    tensors = {"labels": outputs.labels, "logits": outputs.logits}
    if outputs.averaged is not None:
        tensors["averaged"] = outputs.averaged
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    files.write_atomic(path.with_suffix(".safetensors"), save(contiguous, {"format": "pt"}))
    files.write_atomic(path, record.to_json_text(indent=1) + "\n")
    return path


def load_evaluations(run: Run) -> list[EvaluationRecord]:
    """The evaluations of a run, by name.

    Raises:
        UserError: a file is damaged.
    """
    paths = sorted((run.path / EVALUATIONS).glob("*.json"))[:MAX_EVALUATIONS]
    records = [read_json(EvaluationRecord, path) for path in paths if path.stem != CORRUPTIONS]
    return [record for record in records if record is not None]


def load_outputs(run: Run, name: str) -> Outputs | None:
    """The logits of an evaluation; None where there are none.

    Raises:
        UserError: the file is damaged.
    """
    path = run.path / EVALUATIONS / f"{name}.safetensors"
    if not NAME.fullmatch(name) or not path.is_file():
        return None
    try:
        tensors, _ = files.read_safetensors(path, MAX_BYTES)
        return Outputs(**tensors)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def save_corruptions(run: Run, record: CorruptionRecord) -> Path:
    """Store the figures on corrupted images in a run. Raises OSError where it cannot."""
    path = _directory(run) / f"{CORRUPTIONS}.json"
    files.write_atomic(path, record.to_json_text(indent=1) + "\n")
    return path


def load_corruptions(run: Run) -> CorruptionRecord | None:
    """The figures on corrupted images; None where there are none. Raises UserError if damaged."""
    return read_json(CorruptionRecord, run.path / EVALUATIONS / f"{CORRUPTIONS}.json")


def _directory(run: Run) -> Path:
    directory = run.path / EVALUATIONS
    directory.mkdir(exist_ok=True)
    return directory
