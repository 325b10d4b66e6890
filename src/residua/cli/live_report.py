"""An observer that keeps a run's report up to date during the training."""

import time

from residua.reports import write_report
from residua.runs.run import Run
from residua.training.events import EpochFinished, Event, Started

FIRST_REPORT_AFTER = 30.0
"""Seconds of training before the first report; a shorter training gets its report at the end."""
TIME_SHARE = 0.02
"""Reports take at most this share of the time."""
REFRESH = 20
"""Seconds after which an open page reloads its file."""


class LiveReport:
    """Write the report after an epoch when it is due."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._due = time.monotonic() + FIRST_REPORT_AFTER

    def __call__(self, event: Event) -> None:
        """Handle an event of a training.

        Raises:
            OSError: the report cannot be written.
            UserError: files of the run are damaged.
        """
        match event:
            case Started():
                self._run = event.run
            case EpochFinished() if self._run and time.monotonic() >= self._due:
                started = time.monotonic()
                write_report(self._run, refresh=REFRESH)
                now = time.monotonic()
                self._due = now + (now - started) / TIME_SHARE
