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
UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems say that know no locks."""


@contextmanager
def exclusive_lock(directory: Path) -> Iterator[None]:
    """Keep other processes out; the system lets go when this one ends, however it does.

    Raises:
        UserError: another one is in there.
        OSError: the directory cannot be written to.
    """
    with files.open_append(directory / LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is at work on {directory}") from None
        except OSError as error:
            if error.errno not in UNKNOWN:
                raise
            said = f"{directory} lies where nothing can be locked: let one process work on it"
            warnings.warn(said, stacklevel=4)
        yield
