"""A copy of a run on another drive, kept up to date: the recipe's `sync`.

The copy is a run: `residua resume COPY` continues it on another machine, from the files in it
alone. Each file is copied whole or not at all, and in an order in which the copy can be continued
after every one of them.

`python -m residua.runs.mirror` is the process that copies. A drive may hang; a process that waits
for it cannot be ended, so no training waits for this one.
"""

import argparse
import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from residua import files
from residua.errors import UserError
from residua.runs.lock import exclusive_lock
from residua.runs.outbox import Backoff, Outbox, SendError, drain, while_training

FOLDER = "sync"
"""Of the snapshots, in the run."""
DIRECTORIES = ("checkpoints", "artifacts", "report")
ORDER = ("environment.json", "data.json", "artifacts", "model", "checkpoints", "log.jsonl")
"""The model of the best epoch comes before its checkpoint, as in the run itself: where only one of
them was copied, resumption repeats the epoch. recipe.json comes last and makes the copy a run."""
MOMENTARY = ("progress.json",)
"""Files that only say what this process is doing."""
COPY_CHUNK = 2**22


def run_files(run: Path) -> list[str]:
    """The files of a run that its continuation needs, and its model and result."""
    paths = [*run.iterdir(), *(run / "checkpoints").iterdir(), *(run / "artifacts").iterdir()]
    regular = [path for path in paths if path.is_file() and not path.is_symlink()]
    names = [str(path.relative_to(run)) for path in regular if not path.name.startswith(".")]
    return [name for name in names if name not in MOMENTARY]


def copy_path(sync: Path, run: Path) -> Path:
    """Where the copy of a run is: a directory of its name in the folder.

    Raises:
        RuntimeError: the home directory is not known.
    """
    return sync.expanduser().absolute() / run.absolute().name


def mirror(snapshot: Path, copy: Path) -> None:
    """Bring a copy up to date with a snapshot of its run.

    A copy that was made before and is gone is not made again: where a drive was unmounted, its
    mount point may still be there, as a folder of the machine's own disk.

    Raises:
        SendError: the drive is away, full or slow, or the copy is of another run.
    """
    try:
        _check_same_run(snapshot, copy)
        for name in DIRECTORIES:
            (copy / name).mkdir(parents=True, exist_ok=True)
        with exclusive_lock(copy):
            _delete_partial(copy)
            names = sorted(_names(snapshot), key=_position)
            if any((copy / name).is_file() and "checkpoints/st" in name for name in names):
                _delete_obsolete(copy, names)  # Room for the new ones; one to continue from stays.
            for name in names:
                _copy_file(snapshot / name, copy / name)
            _delete_obsolete(copy, names)
        files.write_atomic(_last_copy(snapshot), str(copy))
    except OSError as error:
        raise SendError(_advice(error, copy)) from None
    except UserError as error:
        raise SendError(str(error)) from None


def _made_before(snapshot: Path, copy: Path) -> bool:
    with suppress(OSError, ValueError):
        return files.read_bytes(_last_copy(snapshot)).decode() == str(copy)
    return False


def _last_copy(snapshot: Path) -> Path:
    """The file, beside the queue, with the path of the copy."""
    return snapshot.parents[1] / "copy.txt"


def _names(directory: Path) -> list[str]:
    paths = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return [str(path.relative_to(directory)) for path in paths]


def _position(name: str) -> tuple[int, str]:
    if name == "recipe.json":
        return len(ORDER) + 1, name
    places = (index for index, start in enumerate(ORDER) if name.startswith(start))
    return next(places, len(ORDER)), name


def _check_same_run(snapshot: Path, copy: Path) -> None:
    """Raises SendError where the copy is of another run, or its folder is not there."""
    if not copy.parent.is_dir():
        raise SendError(f"there is no folder {copy.parent}: is the drive mounted?")
    if not copy.is_dir() and _made_before(snapshot, copy):
        raise SendError(f"{copy} is gone: is the drive mounted? To start it anew, make that folder")
    if (copy / "recipe.json").is_file():
        own, other = (_start(path / "environment.json") for path in (snapshot, copy))
        if own != other:
            raise SendError(
                f"{copy} is another run: move it away, or change `sync` in recipe.json",
                permanent=True,
            )


def _start(path: Path) -> object:
    """When, with which command and seed, a run was started."""
    with suppress(OSError, ValueError):
        tree = json.loads(files.read_bytes(path))
        if isinstance(tree, dict):
            return tree.get("started"), tree.get("command"), tree.get("seed")
    return None


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file whole or not at all, unless it is there; the time of its last change is kept."""
    wanted = source.stat()
    with suppress(FileNotFoundError):
        there = target.stat()
        if (there.st_size, there.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns):
            return
    partial = target.with_name(f".{target.name}.partial")
    try:
        with source.open("rb") as reader, partial.open("wb") as writer:
            shutil.copyfileobj(reader, writer, COPY_CHUNK)
            writer.flush()
            os.fsync(writer.fileno())
        os.utime(partial, ns=(wanted.st_atime_ns, wanted.st_mtime_ns))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _delete_obsolete(copy: Path, names: list[str]) -> None:
    """Delete the checkpoints that the run does not have any more."""
    for path in (copy / "checkpoints").iterdir():
        if f"checkpoints/{path.name}" not in names and path.suffix == ".safetensors":
            path.unlink()


def _delete_partial(copy: Path) -> None:
    """Delete what a kill left behind."""
    for directory in (copy, *(copy / name for name in DIRECTORIES)):
        for path in directory.glob(".*.partial"):
            path.unlink(missing_ok=True)


def _advice(error: OSError, copy: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the drive of {copy} is full: free some space"
    return f"{copy} cannot be written: {error.strerror or error}"


def main() -> None:
    """Copy the snapshots of a run until none waits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("copy", type=Path)
    parser.add_argument("--training", type=int)
    parser.add_argument("--first-delay", type=float, default=Backoff.first)
    options = parser.parse_args()
    os.nice(19)
    backoff = Backoff(options.first_delay, 60.0)
    drain(
        Outbox(options.run / FOLDER),
        lambda snapshot: mirror(snapshot, options.copy),
        backoff,
        while_training(options.training),
    )


if __name__ == "__main__":
    main()
