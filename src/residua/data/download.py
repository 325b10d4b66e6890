"""Archives fetched from their official address."""

import contextlib
import http.client
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from residua.data.archive import Archive, find, md5, verify
from residua.errors import UserError

CHUNK = 2**18
TIMEOUT = 30.0
"""Seconds without a byte after which a line counts as cut."""
MEMBER_LIMIT = 2**28
"""Bytes: no file of a CIFAR archive comes near it."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes there so far and in all, None where the server does not say."""


@dataclass(frozen=True)
class Fetched:
    """Where an archive's files are now, and whether they had been there already."""

    folder: Path
    already: bool


def silent(done: int, total: int | None) -> None:
    """Show no progress."""


def fetch(
    archive: Archive,
    destination: Path,
    progress: Progress = silent,
    *,
    address: str | None = None,
    attempts: int = 5,
    pause: float = 1.0,
) -> Fetched:
    """Put an archive's files into `destination`; do nothing where they are, and are right.

    A cut download stays as a .part file and is resumed, now (`attempts` times in a row without
    a byte, after `pause`, 2 `pause`, ... seconds) or by the next call. Raises UserError where the
    address cannot be had, what comes is not the archive, or the disk refuses it.
    """
    folder = find(archive, destination)
    if folder is not None and all(verdict.ok for verdict in verify(archive, destination)):
        return Fetched(folder, already=True)
    folder = destination / archive.folder
    part = _Part(destination / f"{archive.folder}.tar.gz.part")
    with _disk_errors(destination):
        folder.mkdir(parents=True, exist_ok=True)
    _download(address or archive.address, part, progress, attempts, pause)
    if (found := md5(part.path)) != archive.md5:
        part.discard()
        raise UserError(
            f"what came from {address or archive.address} is not the archive (MD5 {found}, "
            f"not {archive.md5}) and was deleted: try again"
        )
    _extract(archive, part.path, folder)
    part.discard()
    return Fetched(folder, already=False)


@dataclass(frozen=True)
class _Part:
    """What has come so far, and the server's mark of the version it is a part of."""

    path: Path

    @property
    def mark(self) -> Path:
        return self.path.with_suffix(".mark")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def request(self, address: str) -> Request:
        """Ask for what is missing, or for all of it should the server's file have changed."""
        headers = {"User-Agent": "residua"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self.mark.is_file():
                headers["If-Range"] = self.mark.read_text()
        return Request(address, headers=headers)

    def remember(self, headers: Message) -> None:
        etag = headers.get("ETag", "")
        strong = "" if etag.startswith("W/") else etag  # HTTP refuses weak ones in If-Range.
        if mark := strong or headers.get("Last-Modified"):
            self.mark.write_text(mark)


def _download(address: str, part: _Part, progress: Progress, attempts: int, pause: float) -> None:
    failures, reason = 0, "the line was cut"
    while failures < attempts:
        before = part.size
        try:
            if _transfer(address, part, progress):
                return
        except HTTPError as error:
            reason = f"the server says {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                break
        except ValueError as error:
            raise UserError(f"cannot download {address}: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        failures = failures + 1 if part.size <= before else 0
        time.sleep(pause * 2 ** max(0, failures - 1))
    kept = "; what came is kept, the same command resumes" if part.size else ""
    raise UserError(f"cannot download {address}: {reason}{kept}")


def _transfer(address: str, part: _Part, progress: Progress) -> bool:
    """Make one request and keep what comes of it; whether the file is whole now."""
    try:
        response = urlopen(part.request(address), timeout=TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not part.size:
                raise
            if error.headers.get("Content-Range") == f"bytes */{part.size}":
                return True
        part.discard()
        return False
    with response:
        done = part.size if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        if done and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            part.discard()
            return False
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with _disk_errors(part.path):
            part.remember(response.headers)
            stream = part.path.open("ab" if done else "wb")
        with stream:
            progress(done, total)
            while chunk := response.read(CHUNK):
                with _disk_errors(part.path):
                    stream.write(chunk)
                    stream.flush()
                done += len(chunk)
                progress(done, total)
    return total is None or done == total


def _extract(archive: Archive, packed: Path, folder: Path) -> None:
    """Take the members the data set needs, by their exact names, and nothing else."""
    wanted = {f"{archive.folder}/{member.name}": member for member in archive.members}
    try:
        with tarfile.open(packed, "r|gz") as tar:
            for entry in tar:
                if entry.size > MEMBER_LIMIT:
                    raise UserError(f"{packed} has a member of {entry.size:,} bytes: too large")
                if entry.isreg() and (member := wanted.pop(entry.name, None)):
                    content = tar.extractfile(entry)
                    assert content is not None  # It is a regular file.
                    _place(content, folder / member.name, member.md5)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"cannot unpack {packed}: {error}") from error
    if wanted:
        raise UserError(f"{packed} lacks {', '.join(wanted)}")


def _place(content: IO[bytes], file: Path, expected: str) -> None:
    """Write a file beside its place, and move it there when it is seen to be right."""
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as stream:
            shutil.copyfileobj(content, stream, CHUNK)
        if (found := md5(part)) != expected:
            raise UserError(f"{file.name} in the archive is damaged (MD5 {found}, not {expected})")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Tell a full or forbidden disk from a cut line: retrying does not mend it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
