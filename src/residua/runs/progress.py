"""progress.json: where a running training stands, for `residua watch` and `residua runs`."""

import time
from typing import Literal

from pydantic import Field

from residua.runs.records import Count, Finite, JsonFile, Percent, Positive, Seconds

STALE_AFTER = 120.0
"""Seconds without an update after which a training no longer counts as running."""
Activity = Literal["training", "evaluating", "stopped"]
RunState = Literal["finished", "training", "evaluating", "stopped", "interrupted"]
"""`interrupted`: neither finished nor stopped, and nothing was heard of it for a while."""


class RunProgress(JsonFile):
    """Where a training stands within its running epoch."""

    activity: Activity
    step: Count
    """Optimiser steps taken since the start of the training."""
    steps_per_epoch: Positive
    epochs: Positive
    """Of the whole training."""
    loss: Finite | None = None
    """Mean over the images of the running epoch, in nats."""
    accuracy: Percent | None = None
    """Over the images of the running epoch, in percent."""
    images_per_second: Seconds = 0.0
    seconds_left: Seconds = 0.0
    """The estimated time until the training ends."""
    updated: float = Field(ge=0, le=1e12)
    """Seconds since 1970."""

    @property
    def fraction(self) -> float:
        """The part of all steps that was taken, from 0 to 1."""
        return min(1.0, self.step / (self.epochs * self.steps_per_epoch))

    @property
    def age(self) -> float:
        """Seconds since the last update; 0 if the clock of another machine is ahead."""
        return max(0.0, time.time() - self.updated)

    @property
    def state(self) -> RunState:
        """What the training is doing now."""
        if self.activity != "stopped" and self.age > STALE_AFTER:
            return "interrupted"
        return self.activity
