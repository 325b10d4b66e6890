"""Downloads against a local server that misbehaves in every way a test asks for."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from residua.data import download
from residua.data.archive import CIFAR100, Archive, Member
from residua.data.download import Fetched, fetch
from residua.errors import UserError

FILES = {name: name.encode() * 40_000 for name in ("train", "test", "meta")}


def packed(
    members: dict[str, bytes], change: Callable[[tarfile.TarFile], None] | None = None
) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=0) as tar:
        if change:
            change(tar)
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def known(content: bytes) -> Archive:
    """CIFAR-100 with made-up files, packed as `content`."""
    md5 = {name: hashlib.md5(file).hexdigest() for name, file in FILES.items()}
    return replace(
        CIFAR100,
        md5=hashlib.md5(content).hexdigest(),
        train=(Member("train", md5["train"]),),
        test=Member("test", md5["test"]),
        meta=Member("meta", md5["meta"]),
    )


GOOD = packed({f"cifar-100-python/{name}": content for name, content in FILES.items()})


@dataclass
class Server:
    content: bytes = GOOD
    etag: str | None = '"one"'
    cuts: list[int] = field(default_factory=list)
    """After how many bytes each coming answer is cut."""
    errors: list[int] = field(default_factory=list)
    """Status codes of the coming answers."""
    ranges: bool = True
    skew: int = 0
    """By how much a ranged answer starts in the wrong place."""
    requests: list[tuple[str | None, str | None]] = field(default_factory=list)
    """The Range and If-Range of each request."""
    address: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked, condition = handler.headers["Range"], handler.headers["If-Range"]
        self.requests.append((asked, condition))
        if self.errors:
            handler.send_error(self.errors.pop(0))
            return
        start = 0
        if asked and self.ranges and condition in (None, self.etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-")) + self.skew
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
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.address = f"http://127.0.0.1:{http.server_port}/cifar-100-python.tar.gz"
        yield state
        http.shutdown()
        thread.join()


def get(server: Server, destination: Path, archive: Archive | None = None) -> Fetched:
    return fetch(
        archive or known(server.content), destination, address=server.address, attempts=3, pause=0
    )


def assert_there(destination: Path) -> None:
    folder = destination / "cifar-100-python"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES
    assert [file.name for file in destination.iterdir()] == ["cifar-100-python"]


def test_fetches_once(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    archive = known(GOOD)
    new = tmp_path / "new" / "place"
    fetched = fetch(archive, new, lambda *now: seen.append(now), address=server.address)
    assert fetched == Fetched(new / "cifar-100-python", already=False)
    assert_there(new)
    assert seen[0] == (0, len(GOOD))
    assert seen[-1] == (len(GOOD), len(GOOD))
    assert seen == sorted(seen)

    assert get(server, new).already
    assert get(server, new / "cifar-100-python").already
    assert len(server.requests) == 1


def test_a_damaged_file_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    (tmp_path / "cifar-100-python" / "test").write_bytes(b"damaged")
    assert not get(server, tmp_path).already
    assert_there(tmp_path)


def test_a_cut_line_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 150_000]
    get(server, tmp_path)
    assert_there(tmp_path)
    assert server.requests == [
        (None, None),
        ("bytes=100000-", '"one"'),
        ("bytes=250000-", '"one"'),
    ]


def test_a_later_call_resumes(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(UserError, match="the line was cut; what came is kept"):
        get(server, tmp_path)
    assert (tmp_path / "cifar-100-python.tar.gz.part").stat().st_size == 100_000
    get(server, tmp_path)
    assert_there(tmp_path)
    assert server.requests[-1] == ("bytes=100000-", '"one"')


def test_a_file_that_changed_meanwhile_comes_whole(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(UserError):
        get(server, tmp_path)
    server.content = packed({f"cifar-100-python/{name}": FILES[name] for name in sorted(FILES)})
    server.etag = '"two"'
    get(server, tmp_path)
    assert_there(tmp_path)
    assert server.requests[-1] == ("bytes=100000-", '"one"')


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_mark_the_md5_decides(
    server: Server, tmp_path: Path, etag: str | None
) -> None:
    server.etag = etag
    server.cuts = [100_000]
    get(server, tmp_path)
    assert_there(tmp_path)
    assert server.requests[-1] == ("bytes=100000-", None)


def test_a_server_that_ignores_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [100_000, 200_000]
    get(server, tmp_path)
    assert_there(tmp_path)


def test_a_range_from_the_wrong_place_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000]
    server.skew = 10
    get(server, tmp_path)
    assert_there(tmp_path)
    assert server.requests[-1] == (None, None)


def test_a_whole_part_is_only_unpacked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python.tar.gz.part").write_bytes(GOOD)
    get(server, tmp_path)
    assert_there(tmp_path)
    assert server.requests == [(f"bytes={len(GOOD)}-", None)]


def test_a_part_longer_than_the_file_is_begun_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python.tar.gz.part").write_bytes(GOOD + b"more")
    get(server, tmp_path)
    assert_there(tmp_path)
    assert [asked for asked, _ in server.requests] == [f"bytes={len(GOOD) + 4}-", None]


def test_wrong_bytes_are_deleted(server: Server, tmp_path: Path) -> None:
    archive = known(GOOD)
    server.content = b"<html>log in to the hotel's network</html>"
    with pytest.raises(UserError, match=r"is not the archive .* was deleted: try again"):
        get(server, tmp_path, archive)
    assert not list(tmp_path.glob("*.part"))
    server.content = GOOD
    get(server, tmp_path, archive)
    assert_there(tmp_path)


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.errors = [503, 429]
    get(server, tmp_path)
    assert_there(tmp_path)
    server.errors = [503] * 3


def test_an_ailing_server_is_given_up(server: Server, tmp_path: Path) -> None:
    server.errors = [500] * 9
    with pytest.raises(UserError, match="the server says 500"):
        get(server, tmp_path)
    assert len(server.requests) == 3


def test_a_missing_file_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.errors = [404]
    with pytest.raises(UserError, match="the server says 404 Not Found"):
        get(server, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x", "nonsense"])
def test_no_server_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match=f"cannot download {address}: .+"):
        fetch(known(GOOD), tmp_path, address=address, attempts=2, pause=0)


def test_a_destination_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file"):
        fetch(known(GOOD), tmp_path / "file", pause=0)


def test_a_full_disk_is_not_retried(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "cifar-100-python.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device"):
        get(server, tmp_path)
    assert len(server.requests) == 1


def entry(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def test_nothing_escapes_the_folder(server: Server, tmp_path: Path) -> None:
    def hostile(tar: tarfile.TarFile) -> None:
        for name in ("../evil", "/tmp/residua-evil", "cifar-100-python/../../evil", "other/train"):
            tar.addfile(entry(name, size=4), io.BytesIO(b"evil"))
        link = {"type": tarfile.SYMTYPE, "linkname": str(tmp_path / "outside")}
        tar.addfile(entry("cifar-100-python/train", **link))
        tar.addfile(entry("cifar-100-python/test", **{**link, "type": tarfile.LNKTYPE}))
        tar.addfile(entry("cifar-100-python/meta", type=tarfile.FIFOTYPE))

    server.content = packed(
        {f"cifar-100-python/{name}": content for name, content in FILES.items()}, hostile
    )
    get(server, tmp_path / "in")
    assert_there(tmp_path / "in")
    assert [file.name for file in tmp_path.iterdir()] == ["in"]
    assert not Path("/tmp/residua-evil").exists()


def test_a_bomb_is_not_unpacked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MEMBER_LIMIT", 150_000)
    server.content = packed(
        {"cifar-100-python/train": bytes(200_000), "cifar-100-python/test": FILES["test"]}
    )
    with pytest.raises(UserError, match="a member of 200,000 bytes: too large"):
        get(server, tmp_path)
    assert not list((tmp_path / "cifar-100-python").iterdir())


def test_an_archive_that_lacks_a_file_says_so(server: Server, tmp_path: Path) -> None:
    server.content = packed({"cifar-100-python/train": FILES["train"]})
    with pytest.raises(UserError, match="lacks cifar-100-python/test, cifar-100-python/meta"):
        get(server, tmp_path)


def test_a_wrong_member_is_named_and_not_put_in_place(server: Server, tmp_path: Path) -> None:
    server.content = packed({"cifar-100-python/test": b"other"})
    with pytest.raises(UserError, match="test in the archive is damaged"):
        get(server, tmp_path)
    assert not list((tmp_path / "cifar-100-python").iterdir())


@pytest.mark.parametrize("content", [b"no archive at all", GOOD[:100_000]])
def test_what_is_no_tar_says_so(server: Server, tmp_path: Path, content: bytes) -> None:
    server.content = content
    with pytest.raises(UserError, match="cannot unpack"):
        get(server, tmp_path)
