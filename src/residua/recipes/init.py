"""What a training starts from, where that is not random: the weights of a trained network."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from residua.config import Config


class Init(Config):
    """Start from the weights of a trained network.

    The final linear layer is taken over only where the classes are the same; otherwise a new one is
    initialised. Everything else has to fit.
    """

    source: Annotated[str, Field(min_length=1)]
    """A run or another directory with model.safetensors and model.json, or one of these files; the
    name of a trained network; or `hub:user/name`."""
    which: Literal["best", "last"] = "best"
    """The network of the source's best or last epoch."""
    body_lr_scale: float = Field(default=1.0, ge=0, le=1)
    """The factor of the learning rate of everything but the final linear layer; at 0 only the
    running statistics of batch normalization change there."""
    normalization: Literal["source", "data"] = "source"
    """Whose channel statistics images are normalized with: those the weights were trained with, or
    those of the training set. A recipe that states its `normalization` keeps it."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Of the source's weights. A run keeps that of what it started from; where a recipe states it,
    other weights are refused."""


def _from_source(value: Any) -> Any:
    """A source alone stands for the whole value."""
    if isinstance(value, str):
        return {"source": value}
    if value is not None and not isinstance(value, dict | Init):
        raise ValueError("must be a run, a file, a name or hub:user/name")
    return value


InitField = Annotated[Init | None, BeforeValidator(_from_source)]
"""`Init`, or the source alone; None: random weights."""
