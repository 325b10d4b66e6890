"""Uploads to and downloads from the Hugging Face Hub, with huggingface_hub (the extra `hub`)."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from residua.errors import UserError
from residua.recipes.publish import RepositoryName
from residua.runs.outbox import SendError

TIMEOUT = 60.0
"""Seconds without an answer after which a request fails; huggingface_hub itself waits for ever."""
SOURCE = re.compile(r"hub:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
MODEL_FILES = {
    "best": ("model.json", "model.safetensors"),
    "last": ("model.json", "model.safetensors", "model-last.json", "model-last.safetensors"),
}
OWN_FOLDERS = ("report/*", "checkpoints/*")
"""Files here that a run does not have any more are deleted from its repository."""
OWN_FILES = ("model-last.*", "result.json", "model.onnx")
MAX_RETRY_AFTER = 86400.0
BUSY = {408, 409, 412, 423, 425, 429, 500, 502, 503, 504}
"""Statuses after which trying again can succeed without anybody's doing."""


def require() -> Any:
    """The module huggingface_hub, with time limits.

    Raises:
        UserError: it is not installed.
    """
    try:
        import huggingface_hub as hub  # noqa: PLC0415
        from huggingface_hub.utils import disable_progress_bars, logging  # noqa: PLC0415
        from huggingface_hub.utils._http import default_client_factory  # noqa: PLC0415
    except ImportError:
        raise UserError("the Hub needs huggingface_hub: pip install 'residua[hub]'") from None

    def client() -> Any:
        made = default_client_factory()
        made.event_hooks = made.event_hooks | {
            "request": [*made.event_hooks["request"], _limit_time]
        }
        return made

    hub.set_client_factory(client)
    disable_progress_bars()
    logging.set_verbosity_error()
    return hub


def _limit_time(request: Any) -> None:
    """Give a request time limits: some calls ask for none, and a client's own are then ignored."""
    limits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        name: limits.get(name) or TIMEOUT for name in ("connect", "read", "write", "pool")
    }


def upload_folder(
    folder: Path,
    repository: RepositoryName,
    message: str,
    private: bool | None = None,
    revision: str | None = None,
) -> str:
    """Make the repository have the files of a folder, in one commit; create it where there is none.

    An upload that was interrupted is continued by calling this again: large files that arrived
    are not sent twice, and a commit has all files or none.

    Args:
        folder: the files.
        repository: USER/NAME.
        message: of the commit.
        private: whether a new repository is private; None: as the account's settings say.
        revision: a branch, created where there is none; None: main.

    Returns:
        The address of the repository.

    Raises:
        SendError: it did not succeed; says what to do.
        UserError: huggingface_hub is not installed.
    """
    hub = require()
    with _explained(repository):
        api = hub.HfApi(endpoint=endpoint(), token=None)
        created = not api.repo_exists(repository)
        if created:
            api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        names = _files(folder)
        there = [] if created else api.list_repo_files(repository, revision=revision)
        stale = [name for name in there if name not in names and _is_own(name)]
        operations = [
            *(hub.CommitOperationAdd(name, folder / name) for name in names),
            *(hub.CommitOperationDelete(name) for name in stale),
        ]
        api.create_commit(repository, operations, commit_message=message, revision=revision)
        return f"{api.endpoint}/{repository}"


def download_model(source: str, which: str = "best") -> Path:
    """The folder with the model of a repository, downloaded once and cached.

    Only model.safetensors and model.json are fetched. Without a network the cached files are used.

    Args:
        source: `hub:USER/NAME`, or `hub:USER/NAME@REVISION` with a branch, a tag or a commit.
        which: `last` also fetches the model of the last epoch, where it is another one.

    Raises:
        UserError: no such repository, revision or model, or the Hub cannot be reached.
    """
    match = SOURCE.fullmatch(source)
    if match is None:
        raise UserError(f"{source} is no model on the Hub: hub:USER/NAME, or hub:USER/NAME@COMMIT")
    repository, revision = match["repository"], match["revision"]
    hub = require()
    options = {"revision": revision, "allow_patterns": list(MODEL_FILES[which])}
    try:
        with _explained(source.removeprefix("hub:")):
            path = Path(hub.snapshot_download(repository, endpoint=endpoint(), **options))
    except SendError as error:
        if error.permanent:
            raise UserError(str(error)) from None
        # A connection that ends in the middle: what is cached may be all there.
        with suppress(Exception):
            return Path(hub.snapshot_download(repository, local_files_only=True, **options))
        raise UserError(str(error)) from None
    missing = [name for name in MODEL_FILES["best"] if not (path / name).is_file()]
    if missing:
        raise UserError(f"{source} has no model of residua: there is no {missing[0]}")
    return path


def endpoint() -> str | None:
    """The address of the Hub: $HF_ENDPOINT, or None for the public one."""
    return os.environ.get("HF_ENDPOINT") or None


def _files(folder: Path) -> list[str]:
    """The files of a folder; a run may come from a stranger, so links are refused."""
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    for path in paths:
        if path.is_symlink():
            raise SendError(f"{path} is a symbolic link: nothing is published", permanent=True)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _is_own(name: str) -> bool:
    """Whether residua may delete a file of a repository: others may have been added by hand."""
    return any(fnmatchcase(name, pattern) for pattern in (*OWN_FOLDERS, *OWN_FILES))


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn each error of the Hub and of the network into a `SendError`."""
    try:
        yield
    except (SendError, UserError):
        raise
    except Exception as error:  # huggingface_hub, httpx and the system have many kinds.
        raise explain(error, what) from None


def explain(error: BaseException, what: str) -> SendError:
    """Say in one line what failed, and what to do; without addresses and headers.

    Args:
        error: of huggingface_hub or of the network.
        what: the repository.
    """
    chain = _causes(error)
    names = {kind.__name__ for each in chain for kind in type(each).__mro__}
    for kinds, text, permanent in _KINDS:
        if names & kinds:
            return SendError(f"{what}: {text}", permanent=permanent)
    responses = (getattr(each, "response", None) for each in chain)
    response = next((each for each in responses if each is not None), None)
    if response is not None:
        status, said = response.status_code, _server_message(error)
        text = _STATUSES.get(status, "the Hub answered {status}{said}")
        message = f"{what}: {text.format(status=status, said=said)}"
        return SendError(message, _retry_after(response, error), status not in BUSY)
    if any("Timeout" in name for name in names):
        return SendError(f"{what}: the Hub did not answer within {TIMEOUT:g} s")
    if names & {"NetworkError", "ProtocolError", "TransportError", "ConnectionError"}:
        return SendError(f"{what}: the connection to the Hub failed ({type(error).__name__})")
    return SendError(f"{what}: {type(error).__name__}: {_one_line(str(error))}")


LOGIN = "there is no valid token: `hf auth login`, or set HF_TOKEN"
_KINDS = (
    ({"RevisionNotFoundError"}, "there is no such revision", True),
    ({"GatedRepoError"}, "it is gated: ask for access on its page", True),
    ({"LocalTokenNotFoundError"}, LOGIN, True),
    (
        {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "IncompleteSnapshotError"},
        "the Hub cannot be reached, and nothing is cached",
        False,
    ),
)
"""Of huggingface_hub's errors: what they mean, and whether trying again is pointless."""
_STATUSES = {
    401: f"401, {LOGIN}",
    403: "403, the token may not do this, or a quota is used up{said}",
    404: "404, there is no such repository, or the token may not see it",
    409: "409, something else changes the repository{said}",
    413: "413, a file is too large for the Hub{said}",
    429: "429, the Hub asks to wait",
}


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    return chain


def _retry_after(response: Any, error: BaseException) -> float | None:
    """The seconds to wait for: of the header Retry-After, or of the Hub's rate limit."""
    header = re.fullmatch(r"(\d{1,6})(\.\d+)?", response.headers.get("Retry-After", ""))
    found = header or re.search(r"Retry after (\d{1,6}) seconds", str(error))
    return min(float(found[1]), MAX_RETRY_AFTER) if found else None


def _server_message(error: BaseException) -> str:
    text = _one_line(getattr(error, "server_message", None) or "")
    return f": {text}" if text else ""


def _one_line(text: str) -> str:
    """A message in one line, without addresses."""
    return " ".join(re.sub(r"https?://\S+", "", text).split())[:300]
