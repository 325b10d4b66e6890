"""An observer that writes where a training stands to progress.json, for `residua watch`."""

import math
import time

from residua.runs.progress import Activity, RunProgress
from residua.training.events import Event, Finished, Started, StepFinished, Stopped
from residua.training.metrics import EpochMetrics

INTERVAL = 2.0
"""Seconds between updates: each makes the host wait for the device."""


class ProgressFile:
    """Update the file every two seconds; remove it at the end, when result.json has the figures."""

    def __init__(self) -> None:
        self._start: Started | None = None
        self._step = 0
        self._images_per_step = self._started = self._due = 0.0

    def __call__(self, event: Event) -> None:
        """Handle an event of a training.

        Raises:
            OSError: the file cannot be written.
        """
        match event:
            case Started():
                self._start, self._step = event, event.step
                self._images_per_step = event.train_images / event.steps_per_epoch
                self._started = time.monotonic()
                self._write("training")
            case StepFinished(step, metrics):
                self._step = step
                if self._is_due():
                    self._write("training", metrics)
            case Stopped():
                self._write("stopped")
            case Finished() if self._start is not None:
                (self._start.run.path / "progress.json").unlink(missing_ok=True)

    def check_evaluation(self, step: int) -> None:
        """Update the file while an evaluation runs; called before steps and its batches.

        Args:
            step: of the progress that a `StopCondition` gets: during an evaluation, the step
                before the last one.
        """
        if step < self._step and self._is_due():
            self._write("evaluating")

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + INTERVAL
        return True

    def _write(self, activity: Activity, metrics: EpochMetrics | None = None) -> None:
        assert self._start is not None
        start = self._start
        taken = self._step - start.step
        seconds = time.monotonic() - self._started
        steps_left = start.recipe.epochs * start.steps_per_epoch - self._step
        loss = metrics.loss if metrics else math.nan
        progress = RunProgress(
            activity=activity,
            step=self._step,
            steps_per_epoch=start.steps_per_epoch,
            epochs=start.recipe.epochs,
            loss=loss if math.isfinite(loss) else None,
            accuracy=metrics.accuracy if metrics else None,
            images_per_second=self._images_per_step * taken / max(seconds, 1e-9),
            seconds_left=seconds / taken * steps_left if taken else 0.0,
            updated=time.time(),
        )
        start.run.write_json("progress.json", progress)
