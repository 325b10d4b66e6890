"""A report that keeps up with its training."""

import time
import warnings
from collections.abc import Iterable, Iterator

from residua.errors import UserError
from residua.reports import write_report
from residua.runs.run import Run
from residua.training.loop import EpochFinished, Event, Started

SOONEST = 30.0
"""Seconds of training before the first report: a shorter one has its report at the end."""
SHARE = 0.02
"""At most this part of the time goes into reports."""
REFRESH = 20
"""Seconds after which an open page reads its file again."""


def live(events: Iterable[Event]) -> Iterator[Event]:
    """Pass a training's events on, and write its report now and then after an epoch.

    A report that cannot be written is warned of, once each time; the training goes on.
    """
    run: Run | None = None
    due = time.monotonic() + SOONEST
    for event in events:
        match event:
            case Started():
                run = event.run
            case EpochFinished() if run and time.monotonic() >= due:
                began = time.monotonic()
                try:
                    write_report(run, refresh=REFRESH)
                except (OSError, UserError) as error:
                    warnings.warn(f"the report could not be written: {error}", stacklevel=2)
                now = time.monotonic()
                due = now + (now - began) / SHARE
        yield event
