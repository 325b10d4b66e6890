"""What the JSON files of a run say: checked when read, for a run may come from a stranger."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Count = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=0, le=1e15)]
Figure = Annotated[float, Field(ge=-1e39, le=1e39)]
"""Whatever float32 can say, but for what is not finite."""
Size = Annotated[float, Field(ge=0, le=1e39)]
Percent = Annotated[float, Field(ge=0, le=100)]


class File(BaseModel):
    """Fields that readers rely on; others may stand beside them."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Epoch(File):
    """A line of log.jsonl."""

    epoch: Annotated[Count, Field(ge=1)]
    step: Count
    train_loss: Figure
    train_accuracy: Percent
    lr: Size
    grad_norm: Size
    seconds: Amount
    images_per_second: Amount
    steps: Annotated[Count, Field(ge=1)] | None = None
    last_loss: Figure | None = None
    grad_norms: dict[str, Size] = {}
    gradient_warning: str = ""
    rollbacks: Count = 0
    evaluation_seconds: Amount = 0.0
    memory_mib: Amount = 0.0
    target_reached: bool = False
    test_loss: Figure | None = None
    test_accuracy: Percent | None = None
    test_top5: Percent | None = None
    test_images: Count | None = None
    holdout_loss: Figure | None = None
    holdout_accuracy: Percent | None = None
    holdout_top5: Percent | None = None
    holdout_images: Count | None = None

    @model_validator(mode="after")
    def _evaluated_whole(self) -> "Epoch":
        for figures in (
            (self.test_loss, self.test_accuracy, self.test_top5),
            (self.holdout_loss, self.holdout_accuracy, self.holdout_top5),
        ):
            if any(each is None for each in figures) and any(each is not None for each in figures):
                raise ValueError("an evaluation has loss, accuracy and top-5")
        return self


class Figures(File):
    """The last or the best epoch of a result."""

    epoch: Annotated[Count, Field(ge=1)]
    test_loss: Figure
    test_accuracy: Percent
    test_top5: Percent


class Result(File):
    """result.json."""

    epochs: Annotated[Count, Field(ge=1)]
    epochs_planned: Count
    selected_on: Literal["test", "holdout"]
    best_lost: Count | None = None
    last: Figures
    best: Figures


class Images(File):
    """A split, in data.json."""

    images: Count


class Provenance(File):
    """data.json: the images that a run was begun with, as `Setting.provenance`."""

    classes: list[str] = []
    normalisation: dict[str, list[Figure]] = {}
    splits: dict[str, Images] = {}


class Environment(File):
    """environment.json: whatever it was; only shown."""


class Rest(File):
    """What a checkpoint holds besides tensors."""

    step: Count
    seconds: Amount
    left_out: Count = 0
    rollbacks: Count = 0
    history: list[Epoch]
    scaler: dict[str, Figure]


def checked(kind: type[File], tree: Any) -> Any:
    """What a file said, seen to be of a kind.

    Raises:
        ValueError: it is not; the first thing wrong.
    """
    try:
        kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None
    return tree


def in_order(records: Sequence[dict[str, Any]]) -> None:
    """See that later records are of later epochs and steps.

    Raises:
        ValueError: they are not.
    """
    for key in ("epoch", "step"):
        if any(later[key] <= earlier[key] for earlier, later in pairwise(records)):
            raise ValueError(f"{key}s go backwards")
