"""One process at a time in a directory."""

import errno
import fcntl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from residua import files
from residua.errors import UserError

LOCK = ".lock"
"""The file that is locked; it stays, empty."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""The errors of file systems that do not support locks."""


@contextmanager
def exclusive_lock(directory: Path) -> Iterator[None]:
    """Keep other processes out of a directory; the system releases the lock when a process ends.

    Raises:
        UserError: another process holds the lock.
        OSError: the directory cannot be written to.
    """
    with files.open_append(directory / LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training in {directory}") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            message = f"{directory} is on a file system without locks: use one process at a time"
            warnings.warn(message, stacklevel=4)
        yield
