"""The CIFAR archives on disk: found, verified, read."""

import hashlib
import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from residua.data.split import Split, Splits
from residua.errors import UserError

_Batch = dict[bytes, Any]


@dataclass(frozen=True)
class ArchiveFile:
    """One file of an archive, known by its MD5."""

    name: str
    md5: str


@dataclass(frozen=True)
class Archive:
    """A data set in the CIFAR python format (https://www.cs.toronto.edu/~kriz/cifar.html)."""

    name: str
    folder: str
    address: str
    md5: str
    """Of the .tar.gz at `address`."""
    train: tuple[ArchiveFile, ...]
    test: ArchiveFile
    meta: ArchiveFile
    labels: bytes
    classes: bytes
    coarse_labels: bytes | None = None
    superclasses: bytes | None = None

    @property
    def members(self) -> tuple[ArchiveFile, ...]:
        """Every file the data set needs."""
        return (*self.train, self.test, self.meta)


CIFAR100 = Archive(
    name="cifar100",
    folder="cifar-100-python",
    address="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    train=(ArchiveFile("train", "16019d7e3df5f24257cddd939b257f8d"),),
    test=ArchiveFile("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    meta=ArchiveFile("meta", "7973b15100ade9c7d40fb424638fde48"),
    labels=b"fine_labels",
    classes=b"fine_label_names",
    coarse_labels=b"coarse_labels",
    superclasses=b"coarse_label_names",
)

CIFAR10 = Archive(
    name="cifar10",
    folder="cifar-10-batches-py",
    address="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    train=(
        ArchiveFile("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        ArchiveFile("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        ArchiveFile("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        ArchiveFile("data_batch_4", "634d18415352ddfa80567beed471001a"),
        ArchiveFile("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test=ArchiveFile("test_batch", "40351d587109b95175f43aff81a1287e"),
    meta=ArchiveFile("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
    labels=b"labels",
    classes=b"label_names",
)


def data_root(root: Path | None = None) -> Path:
    """Return where archives live: `root`, else $RESIDUA_DATA, else residua in the user's cache."""
    if root is None and (given := os.environ.get("RESIDUA_DATA")):
        root = Path(given)
    if root is None:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "residua"
    return root.expanduser()


def find(archive: Archive, root: Path) -> Path | None:
    """Return the folder under `root`, or `root` itself, that has all the archive's files."""
    for folder in (root / archive.folder, root):
        if all((folder / member.name).is_file() for member in archive.members):
            return folder
    return None


@dataclass(frozen=True)
class ChecksumResult:
    """What verifying found of one file; `found` is None where there is no file."""

    file: Path
    expected: str
    found: str | None

    @property
    def ok(self) -> bool:
        """Whether the file is there and is the right one."""
        return self.found == self.expected


def verify(archive: Archive, root: Path) -> list[ChecksumResult]:
    """Compare the MD5 of each file under `root` with the one it is known by."""
    folder = find(archive, root) or root / archive.folder
    return [
        ChecksumResult(file, member.md5, md5(file) if file.is_file() else None)
        for member in archive.members
        for file in [folder / member.name]
    ]


def md5(file: Path) -> str:
    """Return a file's MD5 in hex. Raises UserError where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, _new_md5).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error


def load(archive: Archive, root: Path) -> Splits:
    """Read an archive's train and test images under `root`; about 1 s for CIFAR-100.

    Raises UserError where files are missing, cannot be read or have a wrong MD5.
    """
    folder = find(archive, root)
    if folder is None:
        raise UserError(
            f"no {archive.name} in {root / archive.folder} or {root}: "
            f"get it with `residua data get {archive.name}`"
        )
    meta = _unpickled(folder, archive.meta)
    train = [_unpickled(folder, member) for member in archive.train]
    test = [_unpickled(folder, archive.test)]
    try:
        return Splits(_split(archive, meta, train), None, _split(archive, meta, test))
    except Exception as error:  # A pickle that is no data set may hold anything in any place.
        raise UserError(f"{folder} holds no {archive.name}: {error!r}") from None


def _split(archive: Archive, meta: _Batch, batches: list[_Batch]) -> Split:
    pixels = [batch[b"data"] for batch in batches]
    # A lone batch is not concatenated: that would copy it.
    images = pixels[0] if len(pixels) == 1 else np.concatenate(pixels)
    return Split(
        images=torch.from_numpy(images).view(-1, 3, 32, 32),
        labels=_labels(batches, archive.labels),
        classes=_names(meta, archive.classes),
        coarse_labels=_labels(batches, archive.coarse_labels) if archive.coarse_labels else None,
        superclasses=_names(meta, archive.superclasses) if archive.superclasses else (),
    )


def _labels(batches: list[_Batch], key: bytes) -> torch.Tensor:
    return torch.tensor([label for batch in batches for label in batch[key]], dtype=torch.int64)


def _names(meta: _Batch, key: bytes) -> tuple[str, ...]:
    return tuple(name.decode() for name in meta[key])


def _unpickled(folder: Path, member: ArchiveFile) -> _Batch:
    """Unpickle one file, once its MD5 is seen to be right."""
    file = folder / member.name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    if (found := _new_md5(content).hexdigest()) != member.md5:
        raise UserError(f"{file} is damaged: its MD5 is {found}, not {member.md5}")
    try:
        # As bytes, not latin1, which would make text of 150 MB of pixels, and bytes of it again.
        batch: _Batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # Unpickling raises almost anything.
        raise UserError(f"{file} cannot be read: {error}") from None
    return batch


def _new_md5(content: bytes = b"") -> "hashlib._Hash":
    return hashlib.md5(content, usedforsecurity=False)


class _Unpickler(pickle.Unpickler):
    """Admits arrays and nothing else: a pickle may otherwise call anything."""

    # Asked of an array, not imported: numpy 2 moved it, and warns of the name the pickles have.
    _ADMITTED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in an archive") from None
