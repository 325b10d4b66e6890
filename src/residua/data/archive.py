"""Finding, verifying and reading the CIFAR archives on disk."""

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

_Contents = dict[bytes, Any]


@dataclass(frozen=True)
class ArchiveFile:
    """One file of an archive and its MD5."""

    name: str
    md5: str


@dataclass(frozen=True)
class Archive:
    """A data set in the CIFAR python format (https://www.cs.toronto.edu/~kriz/cifar.html)."""

    name: str
    folder: str
    urls: tuple[str, ...]
    """Where the .tar.gz is: the official source, then others with the same file."""
    sha256: str
    """Of the .tar.gz."""
    train: tuple[ArchiveFile, ...]
    test: ArchiveFile
    meta: ArchiveFile
    label_key: bytes
    class_key: bytes
    coarse_label_key: bytes | None = None
    superclass_key: bytes | None = None
    split_sha256: tuple[str, str] | None = None
    """Of pixels and labels of the official training and test images: `Split.checksum`."""

    @property
    def files(self) -> tuple[ArchiveFile, ...]:
        """All files of the data set."""
        return (*self.train, self.test, self.meta)


CIFAR100 = Archive(
    name="cifar100",
    folder="cifar-100-python",
    urls=(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",
    ),
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    train=(ArchiveFile("train", "16019d7e3df5f24257cddd939b257f8d"),),
    test=ArchiveFile("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    meta=ArchiveFile("meta", "7973b15100ade9c7d40fb424638fde48"),
    label_key=b"fine_labels",
    class_key=b"fine_label_names",
    coarse_label_key=b"coarse_labels",
    superclass_key=b"coarse_label_names",
    split_sha256=(
        "3f04bb596c34a28a39a030be86f7777c004db9cb45165568a504cca261f6765c",
        "9f0797cda23af3231dce0cca7e8d619c0607f6bb8ca05e9b95ff23e4d044c600",
    ),
)

CIFAR10 = Archive(
    name="cifar10",
    folder="cifar-10-batches-py",
    urls=(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
    ),
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    train=(
        ArchiveFile("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        ArchiveFile("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        ArchiveFile("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        ArchiveFile("data_batch_4", "634d18415352ddfa80567beed471001a"),
        ArchiveFile("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test=ArchiveFile("test_batch", "40351d587109b95175f43aff81a1287e"),
    meta=ArchiveFile("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
    label_key=b"labels",
    class_key=b"label_names",
)


def data_root(root: Path | None = None) -> Path:
    """Return the folder of all archives: `root`, else $RESIDUA_DATA, else the user's cache."""
    if root is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "residua"
        root = Path(os.environ.get("RESIDUA_DATA") or cache)
    return root.expanduser()


def find(archive: Archive, root: Path) -> Path | None:
    """Return the folder that has all files of the archive: in `root`, or `root` itself."""
    for folder in (root / archive.folder, root):
        if all((folder / file.name).is_file() for file in archive.files):
            return folder
    return None


@dataclass(frozen=True)
class ChecksumResult:
    """The checksum of one file on disk."""

    path: Path
    expected: str
    actual: str | None
    """None if the file is missing."""

    @property
    def ok(self) -> bool:
        """Whether the file exists and its checksum is correct."""
        return self.actual == self.expected


def verify(archive: Archive, root: Path) -> list[ChecksumResult]:
    """Compare the MD5 of each file of the archive with the expected one.

    Raises:
        UserError: a file cannot be read.
    """
    folder = find(archive, root) or root / archive.folder
    return [
        ChecksumResult(path, file.md5, file_md5(path) if path.is_file() else None)
        for file in archive.files
        for path in [folder / file.name]
    ]


def file_md5(path: Path) -> str:
    """Return the MD5 of a file in hex.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, _new_md5).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def load(archive: Archive, root: Path) -> Splits:
    """Read the training and test images of an archive (about 1 s for CIFAR-100).

    Raises:
        UserError: a file is missing, cannot be read or has a wrong MD5.
    """
    folder = find(archive, root)
    if folder is None:
        raise UserError(
            f"{archive.name} is neither in {root / archive.folder} nor in {root}: "
            f"download it with `residua data get {archive.name}`"
        )
    meta = _unpickle(folder, archive.meta)
    train = [_unpickle(folder, file) for file in archive.train]
    test = [_unpickle(folder, archive.test)]
    try:
        return Splits(_split(archive, meta, train), None, _split(archive, meta, test))
    except Exception as error:  # A foreign pickle may contain any type anywhere.
        raise UserError(f"{folder} is not a {archive.name} archive: {error!r}") from None


def check_splits(archive: Archive, folder: Path) -> None:
    """Compare pixels and labels with the official ones, where their checksums are known.

    Raises:
        UserError: they differ, or a file cannot be read.
    """
    if archive.split_sha256 is None:
        return
    splits = load(archive, folder)
    for name, split, expected in zip(
        ("training", "test"), (splits.train, splits.test), archive.split_sha256, strict=True
    ):
        if split.checksum != expected:
            raise UserError(f"{folder}: the {name} images are not those of {archive.name}")


def _split(archive: Archive, meta: _Contents, batches: list[_Contents]) -> Split:
    pixels = [batch[b"data"] for batch in batches]
    coarse_key = archive.coarse_label_key
    # Concatenating a single batch would copy it.
    images = pixels[0] if len(pixels) == 1 else np.concatenate(pixels)
    return Split(
        images=torch.from_numpy(images).view(-1, 3, 32, 32),
        labels=_labels(batches, archive.label_key),
        classes=_names(meta, archive.class_key),
        coarse_labels=_labels(batches, coarse_key) if coarse_key else None,
        superclasses=_names(meta, archive.superclass_key) if archive.superclass_key else (),
    )


def _labels(batches: list[_Contents], key: bytes) -> torch.Tensor:
    return torch.tensor([label for batch in batches for label in batch[key]], dtype=torch.int64)


def _names(meta: _Contents, key: bytes) -> tuple[str, ...]:
    return tuple(name.decode() for name in meta[key])


def _unpickle(folder: Path, file: ArchiveFile) -> _Contents:
    """Check the MD5 of a file, then unpickle it."""
    path = folder / file.name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if (actual := _new_md5(data).hexdigest()) != file.md5:
        raise UserError(f"{path} is damaged: its MD5 is {actual}, expected {file.md5}")
    try:
        # "latin1" would decode 150 MB of pixels to text and encode them again.
        contents: _Contents = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # Unpickling raises almost any exception.
        raise UserError(f"{path} cannot be read: {error}") from None
    return contents


def _new_md5(data: bytes = b"") -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)


class _Unpickler(pickle.Unpickler):
    """Allows arrays only. An unrestricted pickle can call any function."""

    # Not imported: numpy 2 moved `_reconstruct`, and importing the old name emits a warning.
    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in an archive") from None
