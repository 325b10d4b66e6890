"""Downloading the CIFAR archives."""

import contextlib
import hashlib
import http.client
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from residua.data.archive import Archive, check_splits, file_md5, find, verify
from residua.errors import UserError

CHUNK_SIZE = 2**18
TIMEOUT = 30.0
"""Seconds without data after which a connection counts as lost."""
SLOW_BYTES_PER_SECOND = 150_000
"""A source that sends less is left for the next one: the archive would take 19 minutes or more."""
SLOW_AFTER = 20.0
"""Seconds over which the speed of a source is measured."""
MAX_MEMBER_SIZE = 2**28
"""The largest file that is unpacked, in bytes. All files of the CIFAR archives are far smaller."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far and the total, None if the server does not send it."""


@dataclass(frozen=True)
class FetchResult:
    """The folder of an archive's files."""

    folder: Path
    cached: bool
    """Whether the files existed before the call."""
    url: str = ""
    """Where they come from."""


def no_progress(received: int, total: int | None) -> None:
    """Ignore the progress."""


def no_message(message: str) -> None:
    """Ignore a message."""


class _Unusable(Exception):
    """A source that did not send the archive, and why."""


def fetch(
    archive: Archive,
    destination: Path,
    progress: Progress = no_progress,
    *,
    notify: Callable[[str], None] = no_message,
    urls: Sequence[str] = (),
    attempts: int = 5,
    backoff: float = 1.0,
) -> FetchResult:
    """Download an archive to `destination`, unless its files are there with correct checksums.

    An interrupted download is kept as a .part file. It is resumed immediately or by the next call,
    from any source, because all have the same file. A source that is slow, does not answer or sends
    something else is left for the next one.

    Args:
        archive: the archive.
        destination: the folder that holds all archives.
        progress: called after each chunk.
        notify: called with a sentence when a source is left for the next one.
        urls: replace the archive's URLs.
        attempts: the number of consecutive attempts without new data before giving up; of a source
            that is not the last one, at most two.
        backoff: seconds to wait after the first failure; doubled for each consecutive one.

    Raises:
        UserError: all sources fail, or the disk is not writable.
    """
    folder = find(archive, destination)
    if folder is not None and all(result.ok for result in verify(archive, destination)):
        return FetchResult(folder, cached=True)
    folder = destination / archive.folder
    part = _PartialFile(destination / f"{archive.folder}.tar.gz.part")
    with _disk_errors(destination):
        folder.mkdir(parents=True, exist_ok=True)
    sources = tuple(urls) or archive.urls
    for url, *others in (sources[index:] for index in range(len(sources))):
        try:
            _download(url, part, progress, min(attempts, 2) if others else attempts, backoff,
                      may_be_slow=not others)  # fmt: skip
            _check_archive(archive, url, part)
        except _Unusable as error:
            if not others:
                hint = "; run the same command again to resume the download" if part.size else ""
                raise UserError(f"{error}{hint}") from None
            notify(f"{error}; trying {others[0]}")
            continue
        break
    _extract(archive, part.path, folder)
    check_splits(archive, folder)
    part.delete()
    return FetchResult(folder, cached=False, url=url)


def _check_archive(archive: Archive, url: str, part: "_PartialFile") -> None:
    with part.path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != archive.sha256:
        part.delete()
        raise _Unusable(
            f"the file from {url} is not the archive (its SHA-256 is {actual}, expected "
            f"{archive.sha256}) and was deleted: try again"
        )


@dataclass(frozen=True)
class _PartialFile:
    """The data received so far, its source, and the HTTP validator of the version it belongs to."""

    path: Path

    @property
    def validator_path(self) -> Path:
        return self.path.with_suffix(".validator")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
        self.validator_path.unlink(missing_ok=True)

    def forget_source(self, url: str) -> None:
        """Drop the validator of another source: the file is the same, its validator is not."""
        validator = self.validator_path
        if validator.is_file() and validator.read_text().split("\n")[0] != url:
            validator.unlink()

    def request(self, url: str) -> Request:
        """Request the missing bytes, or all bytes if the server's file has changed."""
        headers = {"User-Agent": "residua"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self.validator_path.is_file():
                headers["If-Range"] = self.validator_path.read_text().partition("\n")[2]
        return Request(url, headers=headers)

    def save_validator(self, url: str, headers: Message) -> None:
        etag = headers.get("ETag", "")
        strong = "" if etag.startswith("W/") else etag  # If-Range does not accept weak ETags.
        if validator := strong or headers.get("Last-Modified"):
            self.validator_path.write_text(f"{url}\n{validator}")


def _download(
    url: str,
    part: _PartialFile,
    progress: Progress,
    attempts: int,
    backoff: float,
    *,
    may_be_slow: bool,
) -> None:
    """Receive the file from one source. Raises _Unusable if that fails."""
    failures, reason = 0, "the connection was lost"
    part.forget_source(url)
    while failures < attempts:
        size_before = part.size
        try:
            if _transfer(url, part, progress, may_be_slow=may_be_slow):
                return
        except HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                break
        except ValueError as error:
            raise _Unusable(f"cannot download {url}: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        failures = failures + 1 if part.size <= size_before else 0
        time.sleep(backoff * 2 ** max(0, failures - 1))
    raise _Unusable(f"cannot download {url}: {reason}")


def _transfer(url: str, part: _PartialFile, progress: Progress, *, may_be_slow: bool) -> bool:
    """Make one request and store the data; return whether the file is complete.

    Raises:
        _Unusable: the source is too slow.
    """
    try:
        response = urlopen(part.request(url), timeout=TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not part.size:
                raise
            if error.headers.get("Content-Range") == f"bytes */{part.size}":
                return True
        part.delete()
        return False
    with response:
        received = part.size if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        content_range = response.headers.get("Content-Range", "")
        if received and not content_range.startswith(f"bytes {received}-"):
            part.delete()
            return False
        length = response.headers.get("Content-Length")
        total = received + int(length) if length else None
        with _disk_errors(part.path):
            part.save_validator(url, response.headers)
            stream = part.path.open("ab" if received else "wb")
        with stream:
            progress(received, total)
            since, before = time.monotonic(), received
            while chunk := response.read1(CHUNK_SIZE):
                with _disk_errors(part.path):
                    stream.write(chunk)
                    stream.flush()
                received += len(chunk)
                progress(received, total)
                seconds = time.monotonic() - since
                if may_be_slow or seconds < SLOW_AFTER or received == total:
                    continue
                speed = (received - before) / seconds
                if speed < SLOW_BYTES_PER_SECOND:
                    raise _Unusable(f"{url} is slow ({speed / 1000:.0f} kB/s)")
                since, before = time.monotonic(), received
    return total is None or received == total


def _extract(archive: Archive, tar_path: Path, folder: Path) -> None:
    """Extract the files of the data set by their exact names, and no others."""
    missing = {f"{archive.folder}/{file.name}": file for file in archive.files}
    try:
        with tarfile.open(tar_path, "r|gz") as tar:
            for member in tar:
                if member.size > MAX_MEMBER_SIZE:
                    raise UserError(f"{tar_path}: a member of {member.size:,} bytes is too large")
                if member.isreg() and (file := missing.pop(member.name, None)):
                    content = tar.extractfile(member)
                    assert content is not None  # The member is a regular file.
                    _write_verified(content, folder / file.name, file.md5)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"cannot unpack {tar_path}: {error}") from error
    if missing:
        raise UserError(f"{tar_path} lacks {', '.join(missing)}")


def _write_verified(content: IO[bytes], path: Path, md5: str) -> None:
    """Write a temporary file, check its MD5, then move it to `path`."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as stream:
            shutil.copyfileobj(content, stream, CHUNK_SIZE)
        if (actual := file_md5(part)) != md5:
            raise UserError(
                f"{path.name} in the archive is damaged: its MD5 is {actual}, expected {md5}"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Raise disk errors as UserError, because a retry does not help as after network errors."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
