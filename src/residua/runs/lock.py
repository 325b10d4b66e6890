"""One process at a time in a directory."""

import errno
import fcntl
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from residua import files
from residua.errors import UserError

LOCK = ".lock"
"""The file that is locked; it stays, empty."""
LOCK_INTERVAL = 0.2
"""Seconds between attempts to lock."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""The errors of file systems that do not support locks."""


@contextmanager
def exclusive_lock(directory: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes out of a directory; the system releases the lock when a process ends.

    Args:
        directory: that is locked.
        patience: seconds to wait for a process that holds the lock.

    Raises:
        UserError: another process holds the lock.
        OSError: the directory cannot be written to.
    """
    with files.open_append(directory / LOCK) as file:
        deadline = time.monotonic() + patience
        try:
            while not _try_lock(file):
                if time.monotonic() >= deadline:
                    raise UserError(f"another process is training in {directory}")
                time.sleep(LOCK_INTERVAL)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            message = f"{directory} is on a file system without locks: use one process at a time"
            warnings.warn(message, stacklevel=4)
        yield


def _try_lock(file: TextIO) -> bool:
    """Lock a file; False where another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
