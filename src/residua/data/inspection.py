"""What is in a data set of files: classes, sizes, duplicates, unreadable files, what fits it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from residua.data.decoding import (
    DecodeError,
    error_reason,
    map_files,
    open_image,
    prepare_image,
)
from residua.data.folder import ImageFolder, divide
from residua.data.layouts import Listing, list_files

SHOWN_PER_CLASS = 8
"""Pictures of each class on the contact sheet."""
SHEET_SIZE = 64
"""Pixels of the side of a picture on the contact sheet."""
MAX_SHEET_CLASSES = 100
HASH_DISTANCE = 6
"""Differing bits of 64 up to which the colours of two pictures are compared."""
COLOR_DISTANCE = 10.0
"""Mean difference of 16 x 16 pixels, in levels of 255, up to which two pictures look the same."""
MAX_NEIGHBOURS = 32
"""How many pictures with equal bytes in their hash each one is compared with: bounds the cost."""
THUMBNAIL = 16

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A file that was read."""

    path: Path
    label: str
    split: str
    width: int
    height: int
    mode: str
    sha256: str
    """Of the file."""


@dataclass(frozen=True)
class DuplicateGroup:
    """Files with the same, or nearly the same, content."""

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]

    @property
    def crosses_splits(self) -> bool:
        """Whether test pictures were seen in training: the accuracy is then too high."""
        return len(set(self.splits)) > 1

    @property
    def crosses_labels(self) -> bool:
        """Whether the same picture has several classes: at least one is wrong."""
        return len(set(self.labels)) > 1


@dataclass(frozen=True)
class Advice:
    """How residua would train on a data set."""

    recipe: str
    epochs: int
    options: tuple[str, ...]
    """Further overrides."""
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """What is in a data set of files."""

    path: Path
    layout: str
    notes: tuple[str, ...]
    """What residua would decide, as sentences."""
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    unreadable: tuple[DecodeError, ...]
    exact: tuple[DuplicateGroup, ...]
    """Files with the same bytes."""
    near: tuple[DuplicateGroup, ...]
    """Pictures that look the same, though their files differ."""
    samples: dict[str, Pixels]
    """uint8 (M, SHEET_SIZE, SHEET_SIZE, 3): the first pictures of each class."""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many pictures each class has in each split."""
        counted = Counter((picture.label, picture.split) for picture in self.pictures)
        splits = [name for name in ("train", "val", "test") if name in self.splits]
        return {label: {split: counted[label, split] for split in splits} for label in self.classes}

    @property
    def splits(self) -> dict[str, int]:
        """How many pictures each split has."""
        return dict(Counter(picture.split for picture in self.pictures))

    @property
    def imbalance(self) -> float:
        """The training pictures of the largest class over those of the smallest."""
        train = [of_class.get("train", 0) for of_class in self.counts.values()]
        return max(train) / max(1, min(train))


def inspect(path: Path, test_fraction: float | None = None) -> Inspection:
    """Read every file of a data set.

    Args:
        path: as `ImageFolder.path`.
        test_fraction: as in `ImageFolder`.

    Raises:
        UserError: there is no such path, or its layout is not a known one.
    """
    path = path.expanduser()
    fraction = ImageFolder(path=path).test_fraction if test_fraction is None else test_fraction
    listing, notes = divide(list_files(path), fraction)
    files = list(_files(listing))
    wanted = _sampled(files)
    pictures, errors, hashes, thumbnails = [], [], [], []
    samples: dict[str, list[Pixels]] = {label: [] for label in listing.classes}
    for file, read in zip(files, map_files(lambda file: _read(*file, wanted), files), strict=True):
        if isinstance(read, DecodeError):
            errors.append(read)
            continue
        pictures.append(read.picture)
        hashes.append(read.hash)
        thumbnails.append(read.thumbnail)
        if read.sample is not None:
            samples[file[1]].append(read.sample)
    return Inspection(
        path=path,
        layout=listing.layout,
        notes=notes,
        classes=listing.classes,
        pictures=tuple(pictures),
        unreadable=tuple(errors),
        exact=_exact_duplicates(pictures),
        near=_near_duplicates(pictures, np.array(hashes, np.uint64), np.array(thumbnails)),
        samples={label: np.stack(shown) for label, shown in samples.items() if shown},
    )


@dataclass(frozen=True)
class _Read:
    picture: Picture
    hash: int
    thumbnail: Pixels
    sample: Pixels | None


def _files(listing: Listing) -> Iterator[tuple[Path, str, str]]:
    """Path, class and split of each file."""
    for split, listed in listing.splits.items():
        for path, label in zip(listed.paths, listed.labels, strict=True):
            yield path, label, split


def _sampled(files: Sequence[tuple[Path, str, str]]) -> set[Path]:
    """The first files of each class, for the contact sheet."""
    seen: Counter[str] = Counter()
    wanted = set()
    for path, label, _ in files:
        if label in seen or len(seen) < MAX_SHEET_CLASSES:
            seen[label] += 1
            if seen[label] <= SHOWN_PER_CLASS:
                wanted.add(path)
    return wanted


def _read(path: Path, label: str, split: str, wanted: set[Path]) -> _Read | DecodeError:
    try:
        with open_image(path) as image:
            width, height, mode = *image.size, image.mode
            pixels = prepare_image(image, SHEET_SIZE, "stretch")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except Exception as error:  # Pillow raises almost any exception for a damaged file.
        return DecodeError(path, error_reason(error))
    small = Image.fromarray(pixels)
    thumbnail = np.asarray(small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    picture = Picture(path, label, split, width, height, mode, digest)
    sample = pixels if path in wanted else None
    return _Read(picture, difference_hash(small), thumbnail, sample)


def difference_hash(image: Image.Image) -> int:
    """DHash of an image: 64 bits, each whether a pixel of 9 x 8 is darker than its right neighbour.

    Krawetz, Kind of Like That (https://www.hackerfactor.com/blog/?/archives/529-Kind-of-Like-That.html).
    """
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


def _exact_duplicates(pictures: Sequence[Picture]) -> tuple[DuplicateGroup, ...]:
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.sha256, []).append(picture)
    return tuple(_group(group) for group in groups.values() if len(group) > 1)


def _group(pictures: Sequence[Picture]) -> DuplicateGroup:
    return DuplicateGroup(
        tuple(picture.path for picture in pictures),
        tuple(picture.label for picture in pictures),
        tuple(picture.split for picture in pictures),
    )


def _near_duplicates(
    pictures: Sequence[Picture], hashes: NDArray[np.uint64], thumbnails: Pixels
) -> tuple[DuplicateGroup, ...]:
    """Groups of pictures that look the same, of which some have different files."""
    groups = [[pictures[index] for index in group] for group in alike_groups(hashes, thumbnails)]
    return tuple(
        _group(group) for group in groups if len({picture.sha256 for picture in group}) > 1
    )


def alike_groups(hashes: NDArray[np.uint64], thumbnails: Pixels) -> list[list[int]]:
    """Group images with at most `HASH_DISTANCE` differing bits and nearly equal colours.

    Two hashes of 64 bits that differ in at most six have at least two of eight bytes in common. So
    only those with two equal bytes are compared: for each pair of bytes the hashes are sorted by
    them, and each is compared with its next neighbours, at most `MAX_NEIGHBOURS`. That takes
    O(n log n) time for any images.

    Args:
        hashes: (N,) uint64.
        thumbnails: (N, side, side, 3) uint8.

    Returns:
        The indices of each group of at least two, sorted.
    """
    if len(hashes) < 2:
        return []
    brightness = thumbnails.reshape(len(thumbnails), -1).mean(1)
    order = np.lexsort((brightness, hashes))
    pairs = list(_neighbours(order, hashes, hashes, thumbnails))
    # One image of each hash: the others are compared with it above.
    unique = np.unique(hashes, return_index=True)[1]
    parts = hashes[:, None].view(np.uint8)
    for first, second in combinations(range(8), 2):
        keys = parts[:, first].astype(np.uint16) << 8 | parts[:, second]
        order = unique[np.lexsort((hashes[unique], keys[unique]))]
        pairs += _neighbours(order, keys, hashes, thumbnails)
    return _connected(pairs)


def _neighbours(
    order: NDArray[np.int64],
    keys: NDArray[Any],
    hashes: NDArray[np.uint64],
    thumbnails: Pixels,
) -> Iterator[tuple[int, int]]:
    """Pairs of images that look the same, among neighbours in an order with equal keys."""
    for offset in range(1, min(MAX_NEIGHBOURS, len(order) - 1) + 1):
        first, second = order[:-offset], order[offset:]
        candidates = keys[first] == keys[second]
        if not candidates.any():
            return
        first, second = first[candidates], second[candidates]
        bits = np.unpackbits((hashes[first] ^ hashes[second])[:, None].view(np.uint8), axis=1)
        similar = bits.sum(1) <= HASH_DISTANCE
        first, second = first[similar], second[similar]
        for start in range(0, len(first), 4096):
            one, two = first[start : start + 4096], second[start : start + 4096]
            difference = np.abs(thumbnails[one].astype(np.int16) - thumbnails[two])
            close = difference.reshape(len(one), -1).mean(1) <= COLOR_DISTANCE
            yield from zip(one[close].tolist(), two[close].tolist(), strict=True)


def _connected(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected groups of a graph with these edges."""
    parents: dict[int, int] = {}

    def root(index: int) -> int:
        while (parent := parents.setdefault(index, index)) != index:
            parents[index] = parents.setdefault(parent, parent)
            index = parent
        return index

    for first, second in pairs:
        parents[root(first)] = root(second)
    groups: dict[int, list[int]] = {}
    for index in sorted(parents):
        groups.setdefault(root(index), []).append(index)
    return sorted(groups.values())


def suggest(inspection: Inspection) -> Advice:
    """A built-in recipe and options that fit a data set, by fixed rules.

    A small network for fewer than 5,000 training pictures, `pocket` for more. The number of epochs
    gives a training at least about 1,500 steps.
    """
    train = inspection.splits.get("train", 0)
    reasons, options = [], []
    if train < 5000:
        recipe, batch, least = "quickstart", 32, 10
        reasons.append(f"{train:,} training pictures are few: a small network learns fast on them.")
    else:
        recipe, batch, least = "pocket", 512, 9
        reasons.append(f"{train:,} training pictures suffice for pocket.")
    if train < 5000:
        options += ["--batch-size", str(min(batch, max(2, train // 4)))]
    steps = max(1, train // batch)
    epochs = min(60, max(least, -(-1500 // steps)))
    sides = [min(picture.width, picture.height) for picture in inspection.pictures]
    median = int(np.median(sides)) if sides else 32
    size = 64 if recipe == "quickstart" and median >= 64 else 32
    if size != 32:
        options += ["--data.size", str(size)]
        reasons.append(
            f"The median picture has {median} pixels on its short side: {size} are kept."
        )
    narrow = [
        picture for picture in inspection.pictures
        if max(picture.width, picture.height) > 1.5 * min(picture.width, picture.height)
    ]  # fmt: skip
    if len(narrow) > len(inspection.pictures) / 4:
        options += ["--data.fit", "pad"]
        reasons.append("Many pictures are far from square: pad keeps what a crop would cut off.")
    if inspection.pictures and all(p.mode in ("L", "1", "I;16", "LA") for p in inspection.pictures):
        options += ["--data.channels", "1"]
        reasons.append("All pictures are grey: one channel suffices.")
    if inspection.imbalance >= 3:
        options += ["--sampler", "balanced"]
        reasons.append(
            f"The largest class has {inspection.imbalance:.1f} times the pictures of the smallest."
        )
    if inspection.unreadable:
        options += ["--data.unreadable", "skip"]
        reasons.append(f"{len(inspection.unreadable):,} files cannot be read.")
    return Advice(recipe, epochs, tuple(options), tuple(reasons))
