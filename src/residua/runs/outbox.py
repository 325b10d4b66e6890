"""Snapshots of a run that wait to be copied elsewhere, and the loop that sends them.

A training stages a snapshot, which takes milliseconds: its files are hard links. Another process
sends it. The queue is on disk, so it survives both of them. This module does not import torch: the
processes that send start with it.
"""

import fcntl
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from residua import files

LINKED = ".safetensors"
"""Files that are replaced as a whole and never changed, so that a link keeps them as they are; all
others are small, some grow in place, and they are copied."""
MAX_PENDING = 10
"""Snapshots that wait; the oldest beyond it are dropped: each may keep a checkpoint on the disk."""
MAX_MESSAGE = 1000
"""Characters of a message that are kept."""


class SendError(Exception):
    """A snapshot could not be sent now.

    Args:
        message: one line that says what to do.
        retry_after: seconds that the receiver asked to wait for.
        permanent: whether trying again is pointless until somebody changes something.
    """

    def __init__(
        self, message: str, retry_after: float | None = None, permanent: bool = False
    ) -> None:
        super().__init__(" ".join(message.split())[:MAX_MESSAGE])
        self.retry_after, self.permanent = retry_after, permanent


@dataclass(frozen=True)
class Backoff:
    """Exponentially growing delays in seconds."""

    first: float = 5.0
    longest: float = 600.0

    def delay(self, failures: int, retry_after: float | None = None) -> float:
        """The delay after this many failures in a row; at least what the receiver asked for.

        It is varied by a quarter, so that trainings that failed together do not return together.
        """
        delay: float = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return max(delay * random.uniform(0.75, 1.25), retry_after or 0.0)


@dataclass(frozen=True)
class Status:
    """What the process that sends reports: status.json."""

    failing: str = ""
    """Why the last attempt failed; empty after a success."""
    sent: str = ""
    """The label of the last snapshot that was sent."""


class Outbox:
    """A directory of a run with snapshots that wait, a log, and the status.

    Args:
        directory: `publish/` or `sync/` in the run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log_path = directory / "log.txt"
        self._queue, self._current = directory / "queue", directory / "current"
        self._status_path = directory / "status.json"

    def stage(self, run: Path, names: Iterable[str], label: str, superseded: str) -> int:
        """Add a snapshot, completely or not at all.

        Args:
            run: the directory of the run.
            names: the files, relative to the run.
            label: what the snapshot is called.
            superseded: waiting snapshots whose label starts with this are dropped.

        Returns:
            How many others were dropped because too many wait.

        Raises:
            OSError: the file system refused.
        """
        self._queue.mkdir(parents=True, exist_ok=True)
        partial = self.directory / ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            for name in names:
                target = partial / name
                target.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(run / name, target, link=name.endswith(LINKED))
            waiting = [*self._snapshots(self._current), *self._snapshots(self._queue)]
            number = max((int(path.name.split("-")[0]) for path in waiting), default=0) + 1
            partial.rename(self._queue / f"{number:06d}-{label}")
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        queued = self._snapshots(self._queue)
        for path in queued[:-1]:
            if label_of(path).startswith(superseded):
                self._delete(path)
        excess = self._snapshots(self._queue)[:-MAX_PENDING]
        for path in excess:
            self._delete(path)
            self.log(f"{label_of(path)} was dropped: more than {MAX_PENDING} snapshots wait")
        return len(excess)

    @property
    def pending(self) -> list[str]:
        """The labels of the snapshots that wait or are being sent, oldest first."""
        paths = [*self._snapshots(self._current), *self._snapshots(self._queue)]
        return [label_of(path) for path in paths]

    def claim(self) -> Path | None:
        """The snapshot to send next, which staging then leaves alone; None where none waits."""
        self._current.mkdir(parents=True, exist_ok=True)
        while True:
            if claimed := self._snapshots(self._current):
                return claimed[0]
            if not (queued := self._snapshots(self._queue)):
                return None
            with suppress(FileNotFoundError):  # It was superseded in this moment.
                queued[0].rename(self._current / queued[0].name)

    def remove(self, snapshot: Path) -> None:
        """Delete a snapshot that was sent, so that a kill never leaves half of it to be sent."""
        self._delete(snapshot)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether this process may send now: one does at a time."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with files.open_append(self.directory / ".lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:
                pass  # A file system without locks.
            yield True

    @property
    def status(self) -> Status:
        """What was reported last; an unreadable file counts as nothing."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            tree = json.loads(files.read_bytes(self._status_path))
            texts = {name: str(tree[name])[:MAX_MESSAGE] for name in ("failing", "sent")}
            return Status(**texts)
        return Status()

    def report(self, status: Status) -> None:
        """Write the status."""
        files.write_atomic(self._status_path, json.dumps(asdict(status)) + "\n")

    def log(self, line: str) -> None:
        """Add a line with the time to the log."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        files.append_line(self.log_path, f"{now} {line}")

    def _delete(self, snapshot: Path) -> None:
        dropped = self.directory / f".dropped-{snapshot.name}"
        shutil.rmtree(dropped, ignore_errors=True)
        with suppress(FileNotFoundError):
            snapshot.rename(dropped)
        shutil.rmtree(dropped, ignore_errors=True)

    @staticmethod
    def _snapshots(directory: Path) -> list[Path]:
        if not directory.is_dir():
            return []
        return sorted(path for path in directory.iterdir() if path.name[:1].isdigit())


def label_of(snapshot: Path) -> str:
    """The label in the name of a snapshot."""
    return snapshot.name.partition("-")[2]


def link_or_copy(path: Path, target: Path, link: bool = True) -> None:
    """Give a file a second name, or copy it where that is not possible; the target is new."""
    if link:
        try:
            os.link(path, target)
            return
        except OSError:
            target.unlink(missing_ok=True)
    shutil.copy2(path, target)


def drain(
    outbox: Outbox,
    send: Callable[[Path], None],
    backoff: Backoff,
    may_wait: Callable[[float], bool],
) -> bool:
    """Send every snapshot that waits; after a failure, wait and try again.

    Args:
        outbox: the snapshots.
        send: sends one; raises `SendError`.
        backoff: the delays.
        may_wait: called before and within a delay with the seconds since the first failure in a
            row; false gives up, and what waits stays.

    Returns:
        Whether nothing waits any more.
    """
    failures, failing_since = 0, 0.0
    while True:
        with outbox.locked() as free:
            snapshot = outbox.claim() if free else None
            if snapshot is None:
                return free
            label = label_of(snapshot)
            try:
                send(snapshot)
            except SendError as error:
                failing_since = failing_since if failures else time.monotonic()
                failures += 1
                delay = backoff.delay(failures, error.retry_after)
                outbox.report(Status(str(error), outbox.status.sent))
                outbox.log(f"{label} failed, {delay:.0f} s until it is tried again: {error}")
            else:
                failures = 0
                outbox.remove(snapshot)
                outbox.report(Status("", label))
                outbox.log(f"{label} sent")
        if failures and not _wait(delay, failing_since, may_wait):
            return False


def _wait(seconds: float, failing_since: float, may_wait: Callable[[float], bool]) -> bool:
    """Wait, for as long as that is allowed; whether it was to the end."""
    end = time.monotonic() + seconds
    while may_wait(time.monotonic() - failing_since):
        left = end - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, 1.0))
    return False


GRACE_SECONDS = 600.0
"""How long a process that sends goes on after its training has ended, while nothing succeeds."""


def while_training(training: int | None, grace: float = GRACE_SECONDS) -> Callable[[float], bool]:
    """The `may_wait` of a process that a training started.

    Args:
        training: the process id of the training; None where there is none.
        grace: seconds of failures that are allowed after it has ended.
    """
    return lambda seconds: os.getppid() == training or seconds < grace
