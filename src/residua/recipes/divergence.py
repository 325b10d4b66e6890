"""What happens when the loss of a training is no longer finite."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from residua.config import Config


class Stop(Config):
    """End the training; its last checkpoint is kept."""

    kind: Literal["stop"] = "stop"
    factor: ClassVar[float] = 1.0
    max_rollbacks: ClassVar[int] = 0


class RollBack(Config):
    """Return to the last checkpoint that was due, and continue with lower learning rates."""

    kind: Literal["roll_back"] = "roll_back"
    factor: float = Field(default=0.5, gt=0, lt=1)
    """Every learning rate is multiplied by this once for each rollback."""
    max_rollbacks: PositiveInt = 3
    """The largest number of rollbacks in the whole training; after it the training ends."""


OnDivergence = Annotated[Stop | RollBack, Field(discriminator="kind")]
