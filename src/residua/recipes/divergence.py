"""What becomes of a training whose loss is no longer finite."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from residua.config import Config


class Diverged(Exception):
    """A loss, a gradient or a weight is not finite; says which, and when."""


class Stop(Config):
    """End the training there; its last checkpoint stays."""

    kind: Literal["stop"] = "stop"
    factor: ClassVar[float] = 1.0
    max_rollbacks: ClassVar[int] = 0


class RollBack(Config):
    """Go back to the last checkpoint that was due, and on from there with lower rates."""

    kind: Literal["roll_back"] = "roll_back"
    factor: float = Field(default=0.5, gt=0, lt=1)
    """What every learning rate is multiplied with, once more each time."""
    max_rollbacks: PositiveInt = 3
    """How often, in the whole training; after that it ends."""


OnDivergence = Annotated[Stop | RollBack, Field(discriminator="kind")]
