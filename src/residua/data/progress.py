"""Who is told how far the reading of a data set is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[int, int], None]
"""Called with the files that are done and their total."""


def _ignore(done: int, total: int) -> None:
    pass


_progress: ContextVar[Progress] = ContextVar("progress", default=_ignore)


@contextmanager
def progress_reported(progress: Progress) -> Iterator[None]:
    """Tell a function how far the reading of files is, within the context and this thread.

    Data sets are loaded deep inside of trainings and evaluations, which would all have to pass it
    on.
    """
    token = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(token)


def report_progress(done: int, total: int) -> None:
    """Report that some of the files were read."""
    _progress.get()(done, total)
