import hashlib
import io
import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from residua.data import Cifar10, Cifar100, Data, Splits, archive
from residua.data.archive import CIFAR10, CIFAR100, Archive, ArchiveFile
from residua.errors import UserError


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 does, with which the archives were written."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_python2(self, text: bytes | str) -> None:
        content = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch[bytes] = dispatch[str] = save_python2


def pickled(value: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_archive(root: Path, template: Archive, contents: dict[str, object]) -> Archive:
    """Write an archive with these contents and return its description."""
    folder = root / template.folder
    folder.mkdir(parents=True)

    def write(file: ArchiveFile) -> ArchiveFile:
        data = pickled(contents[file.name])
        (folder / file.name).write_bytes(data)
        return ArchiveFile(file.name, hashlib.md5(data).hexdigest())

    return replace(
        template,
        train=tuple(write(file) for file in template.train),
        test=write(template.test),
        meta=write(template.meta),
    )


def small_cifar10(root: Path) -> tuple[Archive, dict[str, np.ndarray]]:
    """Write CIFAR-10 with four images in each batch."""
    generator = np.random.default_rng(0)
    names = [file.name for file in (*CIFAR10.train, CIFAR10.test)]
    images = {name: generator.integers(0, 256, (4, 3072), dtype=np.uint8) for name in names}
    contents: dict[str, object] = {
        name: {
            "batch_label": f"training batch {k + 1} of 5",
            "labels": [k, k + 1, k + 2, 9],
            "data": images[name],
            "filenames": [f"{i}.png" for i in range(4)],
        }
        for k, name in enumerate(names)
    }
    classes = [f"class {i}" for i in range(10)]
    contents["batches.meta"] = {"label_names": classes, "num_vis": 3072, "num_cases_per_batch": 4}
    return write_archive(root, CIFAR10, contents), images


def test_cifar10_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar10, images = small_cifar10(tmp_path)
    monkeypatch.setattr(archive, "CIFAR10", cifar10)
    splits = Cifar10(root=tmp_path, holdout=5).load(seed=0)
    whole = Cifar10(root=tmp_path).load(seed=0)
    assert splits.holdout is not None
    assert (len(splits.train), len(splits.holdout), len(splits.test)) == (15, 5, 4)
    assert whole.train.classes == tuple(f"class {i}" for i in range(10))
    assert whole.train.coarse_labels is None
    assert whole.train.superclasses == ()
    assert whole.train.labels.tolist() == [x for k in range(5) for x in (k, k + 1, k + 2, 9)]
    expected = np.concatenate([images[file.name] for file in cifar10.train])
    assert np.array_equal(whole.train.images.numpy().reshape(-1, 3072), expected)
    assert whole.train.images.shape == (20, 3, 32, 32)


def test_root_may_be_the_archive_folder(tmp_path: Path) -> None:
    cifar10, _ = small_cifar10(tmp_path)
    assert len(archive.load(cifar10, tmp_path / cifar10.folder).train) == 20
    assert archive.find(cifar10, tmp_path) == archive.find(cifar10, tmp_path / cifar10.folder)


def test_damaged_file_is_named_and_not_unpickled(tmp_path: Path) -> None:
    cifar10, _ = small_cifar10(tmp_path)
    path = tmp_path / cifar10.folder / "data_batch_3"
    marker = tmp_path / "executed"
    path.write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    with pytest.raises(UserError, match=r"data_batch_3 is damaged: its MD5 is"):
        archive.load(cifar10, tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "malicious", [b"cos\nsystem\n(S'true'\ntR.", b"cbuiltins\neval\n(S'1'\ntR.", b"cnumpy\nload\n."]
)
def test_unpickling_allows_only_arrays_even_if_the_md5_is_correct(
    tmp_path: Path, malicious: bytes
) -> None:
    cifar10, _ = small_cifar10(tmp_path)
    (tmp_path / cifar10.folder / "batches.meta").write_bytes(malicious)
    meta = ArchiveFile("batches.meta", hashlib.md5(malicious).hexdigest())
    with pytest.raises(UserError, match="is not allowed in an archive"):
        archive.load(replace(cifar10, meta=meta), tmp_path)


def test_error_for_missing_data_names_the_folder_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="residua data get cifar100") as raised:
        Cifar100(root=tmp_path).load(seed=0)
    assert str(tmp_path / "cifar-100-python") in str(raised.value)
    with pytest.raises(UserError, match="residua data get cifar10`"):
        Cifar10(root=tmp_path).load(seed=0)


def test_data_root_is_the_argument_or_the_variable_or_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUA_DATA", str(tmp_path / "env"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert archive.data_root(Path("~/data")) == tmp_path / "data"
    assert archive.data_root() == tmp_path / "env"
    monkeypatch.delenv("RESIDUA_DATA")
    assert archive.data_root() == tmp_path / "cache" / "residua"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert archive.data_root() == tmp_path / ".cache" / "residua"


def test_verify_distinguishes_correct_wrong_and_missing_files(tmp_path: Path) -> None:
    cifar10, _ = small_cifar10(tmp_path)
    assert all(result.ok for result in archive.verify(cifar10, tmp_path))
    folder = tmp_path / cifar10.folder
    (folder / "test_batch").write_bytes(b"other")
    (folder / "data_batch_2").unlink()
    results = {result.path.name: result for result in archive.verify(cifar10, tmp_path)}
    assert [name for name, result in results.items() if not result.ok] == [
        "data_batch_2",
        "test_batch",
    ]
    assert results["data_batch_2"].actual is None
    assert results["test_batch"].actual == hashlib.md5(b"other").hexdigest()
    assert len(results) == 7


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read all files")
def test_unreadable_file_is_a_user_error(tmp_path: Path) -> None:
    cifar10, _ = small_cifar10(tmp_path)
    (tmp_path / cifar10.folder / "test_batch").chmod(0)
    with pytest.raises(UserError, match=r"cannot read .*test_batch"):
        archive.load(cifar10, tmp_path)


def test_data_round_trips_through_json_by_kind() -> None:
    data = TypeAdapter(Data)
    assert data.validate_python({"kind": "cifar100", "holdout": 5000}) == Cifar100(holdout=5000)
    for value in (Cifar100(root=Path("/x")), Cifar10(limit=3)):
        assert data.validate_json(data.dump_json(value)) == value
    for invalid in (
        {"kind": "mnist"},
        {"kind": "cifar10", "holdout": -1},
        {"kind": "cifar10", "x": 1},
    ):
        with pytest.raises(ValidationError):
            data.validate_python(invalid)


@pytest.mark.cifar100
def test_cifar100_contents(cifar100: Splits) -> None:
    train, test = cifar100.train, cifar100.test
    assert train.images.shape == (50_000, 3, 32, 32)
    assert test.images.shape == (10_000, 3, 32, 32)
    assert train.labels.bincount().tolist() == [500] * 100
    assert test.labels.bincount().tolist() == [100] * 100
    assert train.classes[:2] == ("apple", "aquarium_fish")
    assert train.classes[-1] == "worm"
    assert train.superclasses[0] == "aquatic_mammals"
    assert train.labels[0] == 19  # cattle
    assert train.coarse_labels is not None
    assert test.coarse_labels is not None
    pairs = set(zip(train.labels.tolist(), train.coarse_labels.tolist(), strict=True))
    assert len(pairs) == 100
    assert pairs == set(zip(test.labels.tolist(), test.coarse_labels.tolist(), strict=True))
    names = {train.classes[fine] for fine, coarse in pairs if coarse == 0}
    assert names == {"beaver", "dolphin", "otter", "seal", "whale"}
    assert train.images[0, :, 0, 0].tolist() == [255, 255, 255]


@pytest.mark.cifar100
def test_cifar100_verifies(cifar100_root: Path) -> None:
    assert all(result.ok for result in archive.verify(CIFAR100, cifar100_root))


@pytest.mark.cifar100
def test_subsample_of_cifar100_is_balanced(cifar100: Splits) -> None:
    for split in (cifar100.train.subsample(300), cifar100.test.subsample(300)):
        assert split.labels.bincount(minlength=100).tolist() == [3] * 100
        assert torch.unique(split.images.flatten(1), dim=0).shape[0] == 300
