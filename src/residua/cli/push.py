"""`residua push`."""

import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from residua.cli.app import app
from residua.cli.output import printable

if TYPE_CHECKING:
    from residua.integrations.hub.repository import Contents
    from residua.runs.run import Run

PATIENCE = 60.0
"""Seconds in which an upload that fails is tried again."""
NO_LICENSE = "none"


@app.command
def push(
    run: Path,
    repository: str | None = None,
    /,
    *,
    to: Path | None = None,
    license_name: Annotated[str | None, Parameter(name="--license")] = None,
    private: Annotated[bool, Parameter(negative="")] = False,
    revision: str | None = None,
    checkpoints: Annotated[bool, Parameter(negative="")] = False,
    onnx: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Publish a trained network on the Hugging Face Hub, with its card and its report.

    Secrets, local paths and names of users and machines are left out. Log in with `hf auth login`,
    or set HF_TOKEN.

    For example:

        residua push runs/mine alice/flowers --license mit

        residua push runs/mine alice/flowers --to flowers     # write the files, upload nothing

        residua push runs/mine                                # continue what waits

    Parameters
    ----------
    run
        The directory of the run.
    repository
        USER/NAME on the Hub; created where there is none. Left out: upload what the training's
        own uploads (the recipe's `publish`) have left.
    to
        Write the same files to this new folder, and upload nothing.
    license_name
        The licence of the weights: mit, apache-2.0, cc-by-4.0 ...; none: none is stated. Left out:
        asked for in a terminal, otherwise none is stated.
    private
        Make a repository that is created private.
    revision
        The branch to upload to, created where there is none; left out: main.
    checkpoints
        Also upload the best and the last checkpoint, for `residua resume`.
    onnx
        Also export and upload model.onnx.
    """
    from residua.errors import UserError
    from residua.integrations.hub.repository import Contents, write_repository
    from residua.runs.model_file import model_paths
    from residua.runs.run import Run

    opened = Run.open(run)
    if repository is None and to is None:
        _continue(opened)
        return
    if repository is not None:
        _check("repository", repository)
    if not model_paths(run)[1].is_file():
        raise UserError(f"{run} has no model yet: train it until its first evaluation")
    answer = _license() if license_name is None else license_name
    if answer != NO_LICENSE:
        _check("license", answer)
    contents = Contents(repository, None if answer == NO_LICENSE else answer, checkpoints, onnx)
    if to is not None:
        print(write_repository(opened, to, contents))
        return
    assert repository is not None
    _upload(opened, repository, contents, private, revision)


def _check(field: str, value: str) -> None:
    """Check the name of a repository, or of a licence."""
    from pydantic import ValidationError

    from residua.errors import UserError
    from residua.recipes.publish import Publish

    forms = {
        "repository": "USER/NAME",
        "license": "the Hub's abbreviation of a licence: mit, apache-2.0, cc-by-4.0 ...",
    }
    try:
        Publish(**{field: value})
    except ValidationError:
        raise UserError(f"{value!r} is not {forms[field]}") from None


def _license() -> str:
    """Ask for the licence in a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return NO_LICENSE
    return (
        input("Licence of the weights (mit, apache-2.0, cc-by-4.0 ...; empty: none): ").strip()
        or NO_LICENSE
    )


def _upload(
    run: "Run", repository: str, contents: "Contents", private: bool, revision: str | None
) -> None:
    from residua.errors import UserError
    from residua.integrations.hub import client
    from residua.integrations.hub.repository import write_repository
    from residua.runs.outbox import Backoff, SendError

    client.require()
    epoch = run.log[-1].epoch
    with tempfile.TemporaryDirectory(prefix="residua-") as parent:
        folder = write_repository(run, Path(parent) / "repository", contents)
        started, failures = time.monotonic(), 0
        while True:
            try:
                address = client.upload_folder(
                    folder, repository, f"Epoch {epoch}", private, revision
                )
                break
            except SendError as error:
                failures += 1
                delay = Backoff(first=2.0).delay(failures, error.retry_after)
                late = time.monotonic() + delay - started > PATIENCE
                if error.permanent or late:
                    raise UserError(f"{error}; nothing was published, push again") from None
                print(f"{error}; trying again in {delay:.0f} s", file=sys.stderr)
                time.sleep(delay)
    print(address)


def _continue(run: "Run") -> None:
    """Upload the snapshots that wait in a run."""
    from residua.errors import UserError
    from residua.integrations.hub import client, worker
    from residua.integrations.observers import PUBLISH_FOLDER
    from residua.runs.outbox import Backoff, Outbox, SendError, drain

    outbox, publish = Outbox(run.path / PUBLISH_FOLDER), worker.publish_settings(run)
    if not outbox.pending:
        print("nothing waits to be uploaded")
        return
    client.require()
    permanent: list[SendError] = []

    def send(snapshot: Path) -> None:
        try:
            print(worker.send_snapshot(snapshot, publish))
        except SendError as error:
            permanent.extend([error] if error.permanent else [])
            print(printable(str(error)), file=sys.stderr)
            raise

    def may_wait(seconds: float) -> bool:
        return seconds < PATIENCE and not permanent

    if drain(outbox, send, Backoff(first=2.0), may_wait):
        return
    quoted = printable(shlex.quote(str(run.path)))
    reason = outbox.status.failing or "another process is uploading"
    raise UserError(f"{reason}; nothing is lost, continue with: residua push {quoted}")
