"""The process that uploads the snapshots of a run: `python -m residua.integrations.hub.worker`."""

import argparse
import os
import warnings
from pathlib import Path

import torch

from residua.errors import UserError
from residua.integrations.hub import client
from residua.integrations.hub.private import PrivateText, check_public
from residua.integrations.hub.repository import Contents, write_repository
from residua.integrations.observers import PUBLISH_FOLDER
from residua.recipes.publish import Publish
from residua.runs.outbox import Backoff, Outbox, SendError, drain, label_of, while_training
from residua.runs.run import Run

TREE = ".repository"
"""The folder with the files of the repository, in a snapshot."""


def publish_settings(run: Run) -> Publish:
    """The recipe's `publish`, with its repository.

    Raises:
        UserError: the recipe has none.
    """
    publish = run.recipe.publish
    if publish is None or publish.repository is None:
        raise UserError(f"{run.path}: its recipe has no repository: residua push RUN USER/NAME")
    return publish


def send_snapshot(snapshot: Path, publish: Publish) -> str:
    """Make the repository of a snapshot, unless that was done, and upload it.

    Returns:
        The address of the repository.

    Raises:
        SendError: it did not succeed.
    """
    assert publish.repository is not None
    folder = snapshot / TREE
    try:
        if not folder.is_dir():
            contents = Contents(publish.repository, publish.license, checkpoints=True)
            write_repository(Run.open(snapshot), folder, contents)
        check_public(folder, PrivateText.of_this_machine())
    except UserError as error:
        raise SendError(str(error), permanent=True) from None
    except Exception as error:  # A fault of a report must not end the uploads to come.
        reason = f"{type(error).__name__}: {error}"
        raise SendError(f"the upload could not be prepared: {reason}") from None
    message = label_of(snapshot).replace("-", " ").capitalize()
    try:
        return client.upload_folder(folder, publish.repository, message, publish.private)
    except UserError as error:
        raise SendError(str(error), permanent=True) from None


def main() -> None:
    """Upload the snapshots of a run until none waits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--training", type=int)
    parser.add_argument("--first-delay", type=float, default=Backoff.first)
    parser.add_argument("--timeout", type=float, default=client.TIMEOUT)
    options = parser.parse_args()
    os.nice(19)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    client.TIMEOUT = options.timeout
    run, outbox = Run(options.run), Outbox(options.run / PUBLISH_FOLDER)
    try:
        publish = publish_settings(run)
        drain(
            outbox,
            lambda snapshot: _send(snapshot, publish, outbox),
            Backoff(options.first_delay),
            while_training(options.training),
        )
    except Exception as error:
        outbox.log(f"the process that uploads ended: {type(error).__name__}: {error}")
        raise


def _send(snapshot: Path, publish: Publish, outbox: Outbox) -> None:
    address = send_snapshot(snapshot, publish)
    outbox.log(f"{label_of(snapshot)} is at {address}")


if __name__ == "__main__":
    main()
