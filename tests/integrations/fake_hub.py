"""A fake of the Hugging Face Hub's HTTP API on the loopback interface, for the real client.

Repositories are in memory: branches, commits, regular and LFS files. `faults` makes requests fail.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_validtokenvalidtokenvalid"
LFS_SUFFIXES = (".safetensors", ".onnx", ".webp", ".png", ".bin")
PART_BYTES = 20_000
"""Objects that are larger are uploaded in parts, where `multipart` is set."""


@dataclass
class Fault:
    """A fault of the requests whose method and path match, for so many times.

    `kind`: a status; `close` ends the connection without an answer, `half` in the middle of it,
    `late` after the request was carried out; `hang` does not answer.
    """

    match: str
    kind: int | str
    times: int = 10**9
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    hits: int = 0

    def applies(self, line: str) -> bool:
        if self.hits < self.times and re.search(self.match, line):
            self.hits += 1
            return True
        return False


@dataclass
class Repository:
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    """Commit of each branch."""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")

    def commit(self, branch: str, tree: dict[str, bytes], message: str) -> str:
        text = repr((len(self.commits), branch, sorted(tree), message))
        oid = hashlib.sha1(text.encode()).hexdigest()
        self.commits[oid], self.branches[branch] = tree, oid
        self.messages.append(message)
        return oid

    def tree(self, revision: str = "main") -> dict[str, bytes] | None:
        return self.commits.get(self.branches.get(revision, revision))


class FakeHub:
    """The server; a context manager. `url` is its address."""

    def __init__(self, multipart: bool = False, quota: int | None = None) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.uploaded: list[str] = []
        """The SHA-256 of each object whose bytes were received, in order."""
        self.valid_tokens = {TOKEN}
        self.multipart, self.quota = multipart, quota
        self.stopping = threading.Event()
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> "FakeHub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def tree(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a repository, without the .gitattributes that the Hub made."""
        tree = self.repositories[name].tree(revision) or {}
        return {path: content for path, content in tree.items() if path != ".gitattributes"}


def local_tree(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class _Handler(BaseHTTPRequestHandler):
    server_hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            super().handle()

    def do(self) -> None:
        hub = self.server_hub
        path = unquote(urlsplit(self.path).path)
        line = f"{self.command} {path}"
        hub.requests.append(line)
        self.query = parse_qs(urlsplit(self.path).query)
        fault = next((each for each in hub.faults if each.applies(line)), None)
        if fault is not None and not self._let_fail(fault):
            return
        self.body = self._read_body()
        if fault is not None and isinstance(fault.kind, int):
            headers = {"X-Error-Message": fault.message} if fault.message else {}
            self.answer(fault.kind, {"error": fault.message or "fault"}, headers | fault.headers)
            return
        self.late = fault is not None and fault.kind == "late"
        for method, pattern, function in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == self.command:
                function(self, **found.groupdict())
                return
        self.answer(404, {"error": f"no route {line}"}, {"X-Error-Code": "EntryNotFound"})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do

    def _let_fail(self, fault: Fault) -> bool:
        """Whether the request goes on."""
        if fault.kind == "hang":
            self.server_hub.stopping.wait(60)
        elif fault.kind == "half":
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
        if fault.kind in ("hang", "close", "half"):
            self.close_connection = True
            self.connection.close()
            return False
        return True

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(
        self, status: int, content: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        if getattr(self, "late", False):
            self.close_connection = True
            self.connection.close()
            return
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def authorized(self, write: bool = True) -> bool:
        """Whether the token is valid; answers 401 where it is not."""
        hub = self.server_hub
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        hub.tokens.append(token)
        if token in hub.valid_tokens or (token is None and not write):
            return True
        message = "Invalid credentials in Authorization header" if token else "Unauthorized"
        self.answer(401, {"error": message}, {"X-Error-Message": message})
        return False

    def repository(self, name: str, write: bool = False) -> Repository | None:
        """The repository; answers 404 where there is none, or a private one without a token."""
        if not self.authorized(write):
            return None
        found = self.server_hub.repositories.get(name)
        token = self.headers.get("Authorization")
        if found is None or (found.private and token is None):
            self.answer(404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def tree(self, name: str, revision: str) -> dict[str, bytes] | None:
        found = self.repository(name)
        tree = found.tree(revision) if found else None
        if found and tree is None:
            self.answer(404, {"error": "revision"}, {"X-Error-Code": "RevisionNotFound"})
        return tree


def create(handler: _Handler) -> None:
    if not handler.authorized():
        return
    body = json.loads(handler.body)
    name = f"{body.get('organization') or 'alice'}/{body['name']}"
    repositories = handler.server_hub.repositories
    if name in repositories:
        handler.answer(409, {"error": "exists", "url": name})
        return
    private = bool(body.get("private")) or body.get("visibility") == "private"
    repositories[name] = Repository(private)
    handler.answer(200, {"url": f"{handler.server_hub.url}/{name}", "name": name, "id": name})


def info(handler: _Handler, name: str, revision: str = "main") -> None:
    if (tree := handler.tree(name, revision)) is None:
        return
    found = handler.server_hub.repositories[name]
    sha = found.branches.get(revision, revision)
    siblings = [{"rfilename": path} for path in tree]
    fields = {"id": name, "modelId": name, "sha": sha, "private": found.private, "tags": []}
    handler.answer(200, fields | {"siblings": siblings, "downloads": 0, "likes": 0})


def listing(handler: _Handler, name: str, revision: str) -> None:
    if (tree := handler.tree(name, revision)) is None:
        return
    handler.answer(200, [entry(path, content) for path, content in sorted(tree.items())])


def entry(path: str, content: bytes) -> dict[str, Any]:
    found = {"type": "file", "path": path, "size": len(content), "oid": blob_oid(content)}
    if path.endswith(LFS_SUFFIXES):
        found["lfs"] = {"oid": digest(content), "size": len(content), "pointerSize": 130}
    return found


def branch(handler: _Handler, name: str, revision: str) -> None:
    if (found := handler.repository(name, write=True)) is None:
        return
    if revision in found.branches:
        handler.answer(409, {"error": "exists"})
        return
    found.branches[revision] = found.branches["main"]
    handler.answer(200, {})


def preupload(handler: _Handler, name: str, revision: str) -> None:
    if (found := handler.repository(name, write=True)) is None:
        return
    tree = found.tree(revision) or {}
    files = [
        {
            "path": each["path"],
            "uploadMode": "lfs" if each["path"].endswith(LFS_SUFFIXES) else "regular",
            "shouldIgnore": False,
            "oid": remote_oid(each["path"], tree),
        }
        for each in json.loads(handler.body)["files"]
    ]
    handler.answer(200, {"files": files})


def remote_oid(path: str, tree: dict[str, bytes]) -> str | None:
    if path not in tree:
        return None
    content = tree[path]
    return digest(content) if path.endswith(LFS_SUFFIXES) else blob_oid(content)


def batch(handler: _Handler, name: str) -> None:
    if handler.repository(name, write=True) is None:
        return
    hub = handler.server_hub
    answers = []
    for each in json.loads(handler.body)["objects"]:
        oid, size = each["oid"], each["size"]
        answer: dict[str, Any] = {"oid": oid, "size": size}
        if hub.quota is not None and sum(map(len, hub.objects.values())) + size > hub.quota:
            answer["error"] = {"code": 403, "message": "storage quota exceeded"}
        elif oid not in hub.objects:
            answer["actions"] = actions(hub, oid, size)
        answers.append(answer)
    handler.answer(200, {"transfer": "basic", "objects": answers})


def actions(hub: FakeHub, oid: str, size: int) -> dict[str, Any]:
    verify = {"href": f"{hub.url}/lfs/{oid}/verify"}
    if not hub.multipart or size <= PART_BYTES:
        return {"upload": {"href": f"{hub.url}/lfs/{oid}"}, "verify": verify}
    count = -(-size // PART_BYTES)
    parts = {str(number): f"{hub.url}/lfs/{oid}/part/{number}" for number in range(1, count + 1)}
    header = {"chunk_size": str(PART_BYTES), **parts}
    return {"upload": {"href": f"{hub.url}/lfs/{oid}/complete", "header": header}, "verify": verify}


def put_object(handler: _Handler, oid: str) -> None:
    if digest(handler.body) != oid:
        handler.answer(400, {"error": "the bytes are not those of the SHA-256"})
        return
    handler.server_hub.objects[oid] = handler.body
    handler.server_hub.uploaded.append(oid)
    handler.answer(200)


def put_part(handler: _Handler, oid: str, number: str) -> None:
    handler.server_hub.parts.setdefault(oid, {})[int(number)] = handler.body
    handler.answer(200, headers={"ETag": digest(handler.body)})


def complete(handler: _Handler, oid: str) -> None:
    parts = handler.server_hub.parts.get(oid, {})
    handler.body = b"".join(parts[number] for number in sorted(parts))
    put_object(handler, oid)


def verify(handler: _Handler, oid: str) -> None:
    handler.answer(200 if oid in handler.server_hub.objects else 404, {})


def commit(handler: _Handler, name: str, revision: str) -> None:
    if (found := handler.repository(name, write=True)) is None:
        return
    tree, message = dict(found.tree(revision) or {}), ""
    for line in handler.body.splitlines():
        item = json.loads(line)
        value = item["value"]
        match item["key"]:
            case "header":
                message = value["summary"]
            case "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                if value["oid"] not in handler.server_hub.objects:
                    handler.answer(400, {"error": f"object {value['oid']} is missing"})
                    return
                tree[value["path"]] = handler.server_hub.objects[value["oid"]]
            case "deletedFile":
                tree.pop(value["path"], None)
    oid = found.commit(revision, tree, message)
    url = f"{handler.server_hub.url}/{name}/commit/{oid}"
    handler.answer(200, {"commitUrl": url, "commitOid": oid, "success": True})


def resolve(handler: _Handler, name: str, revision: str, path: str) -> None:
    if (tree := handler.tree(name, revision)) is None:
        return
    if path not in tree:
        handler.answer(404, {"error": "no file"}, {"X-Error-Code": "EntryNotFound"})
        return
    found, content = handler.server_hub.repositories[name], tree[path]
    oid = digest(content) if path.endswith(LFS_SUFFIXES) else blob_oid(content)
    headers = {"ETag": f'"{oid}"', "X-Repo-Commit": found.branches.get(revision, revision)}
    start = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if start:
        rest = content[int(start[1]) :]
        headers["Content-Range"] = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
        handler.answer(206, rest, headers)
        return
    if handler.command == "HEAD":
        headers["Content-Length"] = str(len(content))
    handler.answer(200, content, headers)


def validate_yaml(handler: _Handler) -> None:
    content = json.loads(handler.body)["content"]
    valid = content.startswith("---\n") and "\n---\n" in content
    errors = [] if valid else [{"message": "no metadata"}]
    handler.answer(200 if valid else 400, {"errors": errors, "warnings": []})


NAME = r"(?P<name>[\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", "/api/repos/create", create),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("GET", rf"/api/models/{NAME}", info),
    ("GET", rf"/api/models/{NAME}/revision/(?P<revision>.+)", info),
    ("GET", rf"/api/models/{NAME}/tree/(?P<revision>.+)", listing),
    ("POST", rf"/api/models/{NAME}/branch/(?P<revision>.+)", branch),
    ("POST", rf"/api/models/{NAME}/preupload/(?P<revision>.+)", preupload),
    ("POST", rf"/api/models/{NAME}/commit/(?P<revision>.+)", commit),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", batch),
    ("PUT", r"/lfs/(?P<oid>\w+)", put_object),
    ("PUT", r"/lfs/(?P<oid>\w+)/part/(?P<number>\d+)", put_part),
    ("POST", r"/lfs/(?P<oid>\w+)/complete", complete),
    ("POST", r"/lfs/(?P<oid>\w+)/verify", verify),
    ("HEAD", rf"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", resolve),
    ("GET", rf"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", resolve),
]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether a condition becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
