"""The cache of decoded images: same images, verified, bounded, and it can be switched off."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residua.data import ImageFolder, Splits, cache, decoding, folder
from residua.data.progress import progress_reported


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "MIN_FILES", 4)
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for k, name in enumerate(("cat", "dog")):
        for i in range(8):
            path = tmp_path / "pictures" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (9, 9), 100 * k + i).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of files of each call that decodes."""
    counts: list[int] = []
    original = folder.decode

    def counted(paths: tuple[Path, ...], preparation: decoding.Preparation) -> object:
        counts.append(len(paths))
        return original(paths, preparation)

    monkeypatch.setattr(folder, "decode", counted)
    return counts


def load(root: Path, **fields: object) -> Splits:
    return ImageFolder.model_validate(
        {"path": root, "size": 8, "test_fraction": 0.5, **fields}
    ).load(0)


def test_files_are_decoded_once(kept: Path, root: Path, decoded: list[int]) -> None:
    first, second = load(root), load(root)
    assert decoded == [8, 8]
    for split in ("train", "test"):
        assert getattr(first, split).checksum == getattr(second, split).checksum
    assert len(list(kept.iterdir())) == 2
    root.rename(root.with_name("moved"))
    load(root.with_name("moved"))
    assert decoded == [8, 8]


def test_changes_of_files_or_settings_are_seen(kept: Path, root: Path, decoded: list[int]) -> None:
    load(root)
    for fields in ({"size": 9}, {"fit": "pad"}, {"channels": 1}):
        decoded.clear()
        load(root, **fields)
        assert decoded == [8, 8]
    decoded.clear()
    path = root / "cat" / "0.png"
    before = path.stat()
    Image.new("L", (9, 9), 55).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = load(root)
    assert decoded == [8]
    values = np.concatenate([changed.train.images.numpy(), changed.test.images.numpy()])
    assert (values == 55).any()


def test_damaged_entry_is_decoded_again(kept: Path, root: Path, decoded: list[int]) -> None:
    expected = load(root).train.checksum
    for damage in (lambda data: data[:100], lambda data: data[:-9] + b"x" * 9, lambda data: b""):
        for path in kept.iterdir():
            path.write_bytes(damage(path.read_bytes()))
        decoded.clear()
        assert load(root).train.checksum == expected
        assert decoded == [8, 8]


def test_unreadable_files_are_known_from_the_cache(
    kept: Path, root: Path, decoded: list[int]
) -> None:
    (root / "cat" / "0.png").write_text("no")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"1 of 16 .*0.png \(not an image\)"):
            assert len(load(root, unreadable="skip").skipped) == 1
    assert decoded == [8, 8]


def test_cache_is_bounded(kept: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 8 * 3 * 8 * 8 * 4)
    for size in (8, 7, 6, 5, 4):
        load(root, size=size)
        assert sum(path.stat().st_size for path in kept.iterdir()) <= cache.MAX_BYTES + 1000


def test_cache_is_switched_off(
    kept: Path, root: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, "off")
    load(root)
    load(root)
    assert decoded == [8] * 4
    assert not kept.exists()


def test_cache_that_cannot_be_written_is_no_error(
    kept: Path, root: Path, decoded: list[int]
) -> None:
    kept.write_text("a file in its place")
    load(root)
    assert decoded == [8, 8]


def test_progress_is_reported(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    with progress_reported(lambda done, total: seen.append((done, total))):
        load(root)
    assert seen[0] == (0, 8)
    assert seen[-1] == (8, 8)
    load(root)
    assert len(seen) == 2 * 9


def test_contents_of_an_entry(kept: Path, root: Path) -> None:
    from residua.files import read_safetensors

    load(root)
    tensors, metadata = read_safetensors(next(kept.iterdir()), 10**6)
    assert tensors["images"].shape == (8, 3, 8, 8)
    assert json.loads(metadata["errors"]) == []
