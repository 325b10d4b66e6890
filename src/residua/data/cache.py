"""Decoded images on disk, so that thousands of files are decoded once and not at every start.

One file for each set of files and way of decoding, in the user's cache directory. Its name is a
SHA-256 over the paths, sizes and times of the files and all that decides their pixels; its content
is verified by another one. $RESIDUA_PICTURE_CACHE names another directory, or is `off`.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from residua import files
from residua.data.decoding import DecodeError, Preparation

VARIABLE = "RESIDUA_PICTURE_CACHE"
FORMAT = 1
MIN_FILES = 200
"""Fewer files are decoded faster than anybody notices."""
MAX_BYTES = 4 * 2**30
"""Of all files together; those that were not used for the longest time are removed."""

Stamp = tuple[int, int, int]
"""Size, time of the last change of the content, time of the last change of anything."""


@dataclass(frozen=True)
class Decoded:
    """Decoded files."""

    images: NDArray[np.uint8]
    """(N, C, size, size)."""
    errors: list[DecodeError]
    """The files whose pixels are undefined."""


def directory() -> Path | None:
    """The folder of the cache; None where it is switched off."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() in ("off", "0", "no", "false"):
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "residua" / "pictures"
    with suppress(RuntimeError):  # Nobody's home.
        return Path(chosen or cache).expanduser()
    return None


def stamps(paths: Sequence[Path]) -> list[Stamp | None]:
    """What shows that a file has changed; None for files that are not there."""
    return [_stamp(path) for path in paths]


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def load(
    root: Path, paths: Sequence[Path], known: Sequence[Stamp | None], preparation: Preparation
) -> Decoded | None:
    """The decoded files from the cache; None where they are not in it, or are damaged."""
    path = _path(root, paths, known, preparation)
    if path is None or not path.is_file():
        return None
    shape = (len(paths), preparation.channels, preparation.size, preparation.size)
    try:
        tensors, metadata = files.read_safetensors(path, MAX_BYTES)
        images = tensors["images"]
        errors = [(int(index), str(reason)) for index, reason in json.loads(metadata["errors"])]
        if images.dtype != torch.uint8 or images.shape != shape:
            return None
        decoded = Decoded(
            images.numpy(), [DecodeError(paths[index], reason) for index, reason in errors]
        )
        if _digest(decoded.images, metadata["errors"]) != metadata["sha256"]:
            return None
        os.utime(path)  # Used now.
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return decoded


def store(
    root: Path,
    paths: Sequence[Path],
    known: Sequence[Stamp | None],
    preparation: Preparation,
    decoded: Decoded,
) -> None:
    """Keep decoded files; a cache that cannot be written is no error."""
    path = _path(root, paths, known, preparation)
    if path is None or decoded.images.nbytes > MAX_BYTES // 2:
        return
    index = {each: number for number, each in enumerate(paths)}
    errors = json.dumps([(index[error.path], error.reason) for error in decoded.errors])
    metadata = {"sha256": _digest(decoded.images, errors), "errors": errors}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, decoded.images.nbytes)
        files.write_atomic(path, save({"images": torch.from_numpy(decoded.images)}, metadata))


def _path(
    root: Path, paths: Sequence[Path], known: Sequence[Stamp | None], preparation: Preparation
) -> Path | None:
    """Where these files' pixels are kept; None where they are not kept."""
    folder = directory()
    if folder is None or len(paths) < MIN_FILES:
        return None
    digest = hashlib.sha256()
    digest.update(json.dumps([FORMAT, PIL.__version__, asdict(preparation)]).encode())
    for path, stamp in zip(paths, known, strict=True):
        name = os.path.relpath(path, root)
        digest.update(json.dumps([name, stamp]).encode(errors="surrogateescape"))
    return folder / f"{digest.hexdigest()}.safetensors"


def _digest(images: NDArray[np.uint8], errors: str) -> str:
    digest = hashlib.sha256(errors.encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def _make_room(folder: Path, needed: int) -> None:
    """Remove the files that were not used for the longest time until there is room."""
    kept = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in kept)
    for path in kept:
        if total + needed <= MAX_BYTES:
            return
        total -= path.stat().st_size
        path.unlink(missing_ok=True)
