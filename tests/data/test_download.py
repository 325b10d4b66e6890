"""Downloads from a local server that simulates errors."""

import hashlib
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from residua.data import download
from residua.data.archive import CIFAR10, CIFAR100, Archive, ArchiveFile, check_splits
from residua.data.download import FetchResult, fetch
from residua.errors import UserError

FILES = {name: name.encode() * 40_000 for name in ("train", "test", "meta")}


def make_tar(
    members: dict[str, bytes], add_first: Callable[[tarfile.TarFile], None] | None = None
) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=0) as tar:
        if add_first:
            add_first(tar)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def archive_of(content: bytes) -> Archive:
    """CIFAR-100 with other files and this .tar.gz."""
    md5 = {name: hashlib.md5(file).hexdigest() for name, file in FILES.items()}
    return replace(
        CIFAR100,
        sha256=hashlib.sha256(content).hexdigest(),
        split_sha256=None,
        train=(ArchiveFile("train", md5["train"]),),
        test=ArchiveFile("test", md5["test"]),
        meta=ArchiveFile("meta", md5["meta"]),
    )


GOOD = make_tar({f"cifar-100-python/{name}": content for name, content in FILES.items()})


@dataclass
class Server:
    content: bytes = GOOD
    etag: str | None = '"one"'
    cuts: list[int] = field(default_factory=list)
    """The number of bytes after which each of the next responses ends."""
    errors: list[int] = field(default_factory=list)
    """The status codes of the next responses."""
    ranges: bool = True
    skew: int = 0
    """The error in the start of partial responses, in bytes."""
    requests: list[tuple[str | None, str | None]] = field(default_factory=list)
    """The Range and If-Range of each request."""
    pause: float = 0.0
    """Seconds before each 10,000 bytes of a response."""
    url: str = ""

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        range_header, if_range = handler.headers["Range"], handler.headers["If-Range"]
        self.requests.append((range_header, if_range))
        if self.errors:
            handler.send_error(self.errors.pop(0))
            return
        start = 0
        if range_header and self.ranges and if_range in (None, self.etag):
            start = int(range_header.removeprefix("bytes=").removesuffix("-")) + self.skew
            if start >= len(self.content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(self.content)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            handler.send_response(206)
            last = len(self.content) - 1
            handler.send_header("Content-Range", f"bytes {start}-{last}/{len(self.content)}")
        else:
            handler.send_response(200)
        if self.etag:
            handler.send_header("ETag", self.etag)
        body = self.content[start:]
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        body = body[: self.cuts.pop(0)] if self.cuts else body
        for start in range(0, len(body), 10_000 if self.pause else len(body)):
            time.sleep(self.pause)
            handler.wfile.write(body[start : start + 10_000] if self.pause else body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as state:
        yield state


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A second source."""
    with serving(monkeypatch) as state:
        yield state


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # The client leaves slow sources.
                state.respond(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_port}/cifar-100-python.tar.gz"
        yield state
        http.shutdown()
        thread.join()


def get(server: Server, destination: Path, archive: Archive | None = None) -> FetchResult:
    return fetch(
        archive or archive_of(server.content), destination, urls=[server.url], attempts=3, backoff=0
    )


def get_from_two(
    server: Server, mirror: Server, destination: Path
) -> tuple[FetchResult, list[str]]:
    messages: list[str] = []
    urls = [server.url, mirror.url]
    result = fetch(
        archive_of(GOOD), destination, notify=messages.append, urls=urls, attempts=3, backoff=0
    )
    assert_complete(destination)
    assert result.url == mirror.url
    (message,) = messages
    assert message.startswith(("cannot download " + server.url, server.url, "the file from"))
    assert message.endswith(f"trying {mirror.url}")
    return result, messages


@pytest.mark.parametrize("status", [404, 500])
def test_second_source_is_used_where_the_first_is_gone(
    server: Server, mirror: Server, tmp_path: Path, status: int
) -> None:
    server.errors = [status] * 9
    _, (message,) = get_from_two(server, mirror, tmp_path)
    assert f"the server answered {status}" in message
    assert len(server.requests) == (1 if status == 404 else 2)


def test_second_source_continues_where_a_slow_one_is_left(
    server: Server, mirror: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SLOW_AFTER", 0.2)
    server.pause = 0.1
    _, (message,) = get_from_two(server, mirror, tmp_path)
    assert "is slow (" in message
    assert mirror.requests[0][0] is not None  # Only the rest is requested,
    assert mirror.requests[0][1] is None  # without the validator of the first source.


def test_only_source_may_be_slow(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SLOW_AFTER", 0.01)
    server.pause = 0.02
    get(server, tmp_path)
    assert_complete(tmp_path)


def test_second_source_is_used_where_the_first_hangs(
    server: Server, mirror: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.pause = 1.0
    _, (message,) = get_from_two(server, mirror, tmp_path)
    assert "timed out" in message


def test_second_source_is_used_where_the_first_sends_something_else(
    server: Server, mirror: Server, tmp_path: Path
) -> None:
    server.content = b"<html>please log in</html>"
    _, (message,) = get_from_two(server, mirror, tmp_path)
    assert "is not the archive" in message
    assert mirror.requests == [(None, None)]


def test_error_names_the_last_source_where_all_fail(
    server: Server, mirror: Server, tmp_path: Path
) -> None:
    server.errors, mirror.errors = [404], [404]
    with pytest.raises(UserError, match=f"cannot download {mirror.url}: the server answered 404"):
        fetch(archive_of(GOOD), tmp_path, urls=[server.url, mirror.url], attempts=2, backoff=0)


def test_both_archives_have_a_second_source() -> None:
    for archive in (CIFAR10, CIFAR100):
        assert len(archive.urls) > 1
        assert len(archive.sha256) == 64


def test_pixels_and_labels_are_the_official_ones(cifar100_root: Path) -> None:
    check_splits(CIFAR100, cifar100_root)
    swapped = replace(CIFAR100, split_sha256=(CIFAR100.split_sha256 or ("", ""))[::-1])
    with pytest.raises(UserError, match="the training images are not those of cifar100"):
        check_splits(swapped, cifar100_root)


def assert_complete(destination: Path) -> None:
    folder = destination / "cifar-100-python"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES
    assert [file.name for file in destination.iterdir()] == ["cifar-100-python"]


def test_archive_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    progress: list[tuple[int, int | None]] = []
    archive = archive_of(GOOD)
    new = tmp_path / "new" / "folder"
    result = fetch(archive, new, lambda *now: progress.append(now), urls=[server.url])
    assert result == FetchResult(new / "cifar-100-python", cached=False, url=server.url)
    assert_complete(new)
    assert progress[0] == (0, len(GOOD))
    assert progress[-1] == (len(GOOD), len(GOOD))
    assert progress == sorted(progress)

    assert get(server, new).cached
    assert get(server, new / "cifar-100-python").cached
    assert len(server.requests) == 1


def test_damaged_file_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    (tmp_path / "cifar-100-python" / "test").write_bytes(b"damaged")
    assert not get(server, tmp_path).cached
    assert_complete(tmp_path)


def test_lost_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 150_000]
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert server.requests == [
        (None, None),
        ("bytes=100000-", '"one"'),
        ("bytes=250000-", '"one"'),
    ]


def test_later_call_resumes(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(
        UserError, match="the connection was lost; run the same command again to resume"
    ):
        get(server, tmp_path)
    assert (tmp_path / "cifar-100-python.tar.gz.part").stat().st_size == 100_000
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert server.requests[-1] == ("bytes=100000-", '"one"')


def test_file_changed_on_the_server_is_downloaded_completely(
    server: Server, tmp_path: Path
) -> None:
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(UserError):
        get(server, tmp_path)
    server.content = make_tar({f"cifar-100-python/{name}": FILES[name] for name in sorted(FILES)})
    server.etag = '"two"'
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert server.requests[-1] == ("bytes=100000-", '"one"')


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_download_without_a_strong_etag_is_resumed(
    server: Server, tmp_path: Path, etag: str | None
) -> None:
    server.etag = etag
    server.cuts = [100_000]
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert server.requests[-1] == ("bytes=100000-", None)


def test_server_that_ignores_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [100_000, 200_000]
    get(server, tmp_path)
    assert_complete(tmp_path)


def test_wrong_range_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000]
    server.skew = 10
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert server.requests[-1] == (None, None)


def test_complete_part_file_is_only_extracted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python.tar.gz.part").write_bytes(GOOD)
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert server.requests == [(f"bytes={len(GOOD)}-", None)]


def test_part_file_that_is_too_long_is_discarded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python.tar.gz.part").write_bytes(GOOD + b"more")
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert [range_header for range_header, _ in server.requests] == [
        f"bytes={len(GOOD) + 4}-",
        None,
    ]


def test_wrong_contents_are_deleted(server: Server, tmp_path: Path) -> None:
    archive = archive_of(GOOD)
    server.content = b"<html>please log in</html>"
    with pytest.raises(UserError, match=r"is not the archive .* was deleted: try again"):
        get(server, tmp_path, archive)
    assert not list(tmp_path.glob("*.part"))
    server.content = GOOD
    get(server, tmp_path, archive)
    assert_complete(tmp_path)


def test_busy_server_is_retried(server: Server, tmp_path: Path) -> None:
    server.errors = [503, 429]
    get(server, tmp_path)
    assert_complete(tmp_path)


def test_retries_are_limited(server: Server, tmp_path: Path) -> None:
    server.errors = [500] * 9
    with pytest.raises(UserError, match="the server answered 500"):
        get(server, tmp_path)
    assert len(server.requests) == 3


def test_missing_file_is_not_retried(server: Server, tmp_path: Path) -> None:
    server.errors = [404]
    with pytest.raises(UserError, match="the server answered 404 Not Found"):
        get(server, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "nonsense"])
def test_unreachable_server_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match=f"cannot download {url}: .+"):
        fetch(archive_of(GOOD), tmp_path, urls=[url], attempts=2, backoff=0)


def test_destination_that_cannot_be_created_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file"):
        fetch(archive_of(GOOD), tmp_path / "file", backoff=0)


def test_full_disk_is_not_retried(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "cifar-100-python.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device"):
        get(server, tmp_path)
    assert len(server.requests) == 1


def tar_member(name: str, **fields: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(member, key, value)
    return member


def test_members_are_not_extracted_outside_the_folder(server: Server, tmp_path: Path) -> None:
    def add_malicious(tar: tarfile.TarFile) -> None:
        for name in ("../evil", "/tmp/residua-evil", "cifar-100-python/../../evil", "other/train"):
            tar.addfile(tar_member(name, size=4), io.BytesIO(b"evil"))
        link = {"type": tarfile.SYMTYPE, "linkname": str(tmp_path / "outside")}
        tar.addfile(tar_member("cifar-100-python/train", **link))
        tar.addfile(tar_member("cifar-100-python/test", **{**link, "type": tarfile.LNKTYPE}))
        tar.addfile(tar_member("cifar-100-python/meta", type=tarfile.FIFOTYPE))

    server.content = make_tar(
        {f"cifar-100-python/{name}": content for name, content in FILES.items()}, add_malicious
    )
    get(server, tmp_path / "in")
    assert_complete(tmp_path / "in")
    assert [file.name for file in tmp_path.iterdir()] == ["in"]
    assert not Path("/tmp/residua-evil").exists()


def test_member_that_is_too_large_is_not_extracted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_MEMBER_SIZE", 150_000)
    server.content = make_tar(
        {"cifar-100-python/train": bytes(200_000), "cifar-100-python/test": FILES["test"]}
    )
    with pytest.raises(UserError, match="a member of 200,000 bytes is too large"):
        get(server, tmp_path)
    assert not list((tmp_path / "cifar-100-python").iterdir())


def test_error_for_an_incomplete_archive_names_the_missing_files(
    server: Server, tmp_path: Path
) -> None:
    server.content = make_tar({"cifar-100-python/train": FILES["train"]})
    with pytest.raises(UserError, match="lacks cifar-100-python/test, cifar-100-python/meta"):
        get(server, tmp_path)


def test_damaged_member_is_named_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = make_tar({"cifar-100-python/test": b"other"})
    with pytest.raises(UserError, match="test in the archive is damaged"):
        get(server, tmp_path)
    assert not list((tmp_path / "cifar-100-python").iterdir())


@pytest.mark.parametrize("content", [b"not an archive", GOOD[:100_000]])
def test_file_that_is_not_a_tar_is_a_user_error(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.content = content
    with pytest.raises(UserError, match="cannot unpack"):
        get(server, tmp_path)
