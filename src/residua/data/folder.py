"""Own pictures: folders with one subfolder for each class, or a table of files."""

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from residua.data import cache
from residua.data.dataset import Dataset
from residua.data.decoding import Channels, DecodeError, Fit, Preparation, decode
from residua.data.layouts import FileList, Listing, list_files, list_test_files
from residua.data.split import Split, Splits, stratified_sample
from residua.errors import UserError

SHOWN_ERRORS = 3
MAX_SKIPPED = 1000
"""The largest number of skipped files that are listed in a run."""


class ImageFolder(Dataset):
    """Own pictures in any layout: train and test folders, a folder of classes, a table.

    - PATH/train/CLASS/* and PATH/test/CLASS/*. `val` (or `valid`) is the holdout, or the test set
      if there is no `test`.
    - PATH/CLASS/*: a stratified part is held out as the test set.
    - PATH is a .csv or .tsv file of path, label and perhaps split; paths are relative to it.

    Folders inside of a class folder belong to the class. The classes are sorted by name.
    """

    kind: Literal["folder"] = "folder"
    path: Path
    """The folder or the table. A run stores it as an absolute path."""
    size: int = Field(default=32, ge=1, le=1024)
    """Pixels of each side that pictures are resized to."""
    fit: Fit = "crop"
    """How pictures become square: `crop` the centre, `pad` with grey, or `stretch`."""
    channels: Channels = 3
    """3 for RGB, 1 for grey."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """The part of each class in the test set where there is no split; it does not depend on the
    seed of the training."""
    unreadable: Literal["error", "skip"] = "error"
    """Whether unreadable files are an error, or are left out with a warning."""

    @property
    def num_classes(self) -> int:
        """The number of classes. Raises UserError if the layout is wrong."""
        return len(list_files(self.path.expanduser()).classes)

    @property
    def num_channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return self.channels

    @property
    def label(self) -> str:
        """The name of the folder, or of the table."""
        return self.path.expanduser().resolve().name or str(self.path)

    def prepare(self, size: int) -> Preparation:
        """How image files are converted for a network that was trained on this data set."""
        return Preparation(size, self.fit, self.channels)

    def resolved(self) -> "ImageFolder":
        """With an absolute path, so that a run can be evaluated from elsewhere."""
        return self.replace(path=self.path.expanduser().absolute())

    def read(self) -> Splits:
        """Decode all images.

        Raises:
            UserError: the layout is wrong, files are unreadable, or changed while they were read.
        """
        listing, notes = divide(list_files(self.path.expanduser()), self.test_fraction)
        how, classes = self.prepare(self.size), listing.classes
        decoded = {
            name: decode_split(listing, listed, classes, how)
            for name, listed in listing.splits.items()
        }
        _report_unreadable(
            [each for _, errors in decoded.values() for each in errors], listing, self
        )
        splits = {name: split for name, (split, _) in decoded.items()}
        for name, split in splits.items():
            if len(split) == 0:
                raise UserError(f"{self.path}: no file of {name} can be read")
        skipped = tuple(
            f"{os.path.relpath(error.path, listing.root)}: {error.reason}"
            for _, errors in decoded.values()
            for error in errors
        )
        return Splits(
            splits["train"],
            splits.get("val"),
            splits["test"],
            notes=notes,
            skipped=skipped[:MAX_SKIPPED],
        )


def decode_split(
    listing: Listing, listed: FileList, classes: tuple[str, ...], preparation: Preparation
) -> tuple[Split, list[DecodeError]]:
    """Decode files, or take them from the cache.

    Returns:
        The readable files as a split, and the errors of the others.

    Raises:
        UserError: files changed while they were read.
    """
    paths = listed.paths
    before = cache.stamps(paths)
    decoded = cache.load(listing.root, paths, before, preparation)
    if decoded is None:
        decoded = cache.Decoded(*decode(paths, preparation))
        after = cache.stamps(paths)
        changed = [
            path for path, *two in zip(paths, before, after, strict=True) if two[0] != two[1]
        ]
        if changed:
            raise UserError(
                f"{listing.root} changes while it is read: {len(changed):,} files, the first "
                f"is {changed[0]}; start again when all files are in place"
            )
        cache.store(listing.root, paths, before, preparation, decoded)
    index = {name: number for number, name in enumerate(classes)}
    split = Split(
        torch.from_numpy(decoded.images),
        torch.tensor([index[label] for label in listed.labels], dtype=torch.int64),
        classes,
        paths=tuple(map(str, paths)),
    )
    if not decoded.errors:
        return split, []
    unreadable = {error.path for error in decoded.errors}
    readable = [number for number, path in enumerate(paths) if path not in unreadable]
    return split.subset(readable), decoded.errors


def read_test_files(path: Path, preparation: Preparation, classes: tuple[str, ...]) -> Split:
    """Read image files to evaluate a trained network on: another test set.

    Args:
        path: PATH/CLASS/*, PATH/test/CLASS/* or a table; classes may be missing.
        preparation: as in the training: `data.prepare(size)` of its data set.
        classes: of the network, in its order.

    Raises:
        UserError: the layout is wrong, the network does not know a class, or files are unreadable.
    """
    listing = list_test_files(path.expanduser(), classes)
    split, errors = decode_split(listing, listing.splits["test"], classes, preparation)
    if errors:
        raise UserError(error_message(errors, len(listing.splits["test"])))
    return split


def divide(listing: Listing, test_fraction: float) -> tuple[Listing, tuple[str, ...]]:
    """Hold out a test set where there is none, and say what was decided.

    Args:
        listing: the files.
        test_fraction: the part of each class that is held out.

    Returns:
        The files with a test set, and sentences for the user.

    Raises:
        UserError: nothing is left to train on, or to hold out.
    """
    notes = [listing.ignored_note] if listing.ignored_note else []
    splits = dict(listing.splits)
    if "test" in splits:
        return listing, tuple(notes)
    if listing.is_split:
        splits["test"] = splits.pop("val")
        notes.insert(
            0, "There is no test set: val is used as the test set, and selects the best epoch."
        )
        return replace(listing, splits=splits), tuple(notes)
    train, test = _held_out(listing, test_fraction)
    total = len(train) + len(test)
    percent = f"{100 * len(test) / total:.0f} %"
    single = sum(count < 2 for count in _counts(listing).values())
    notes.insert(
        0,
        f"There is no split: {len(test):,} of {total:,} pictures ({percent} of "
        "each class) are held out as the test set, the same for every seed (data.test_fraction)."
        + (f" {single} classes with one picture are only trained on." if single else ""),
    )
    return replace(listing, splits={"train": train, "test": test}), tuple(notes)


def _held_out(listing: Listing, fraction: float) -> tuple[FileList, FileList]:
    """Divide the files into training and test files; every class keeps a training file."""
    listed, counts = listing.splits["train"], _counts(listing)
    index = {name: number for number, name in enumerate(listing.classes)}
    pool = [number for number, label in enumerate(listed.labels) if counts[label] > 1]
    size = min(max(1, round(fraction * len(listed))), len(pool) - 1)
    if size < 1:
        raise UserError(
            f"{listing.root} has {len(listed):,} pictures: too few to hold out a test set"
        )
    labels = torch.tensor([index[listed.labels[number]] for number in pool])
    test = [pool[number] for number in stratified_sample(labels, size, seed=0).tolist()]
    left = counts.copy()
    for number in list(test):
        left[listed.labels[number]] -= 1
        if left[listed.labels[number]] == 0:
            test.remove(number)
    train = sorted(set(range(len(listed))) - set(test))
    return listed.select(train), listed.select(test)


def _counts(listing: Listing) -> dict[str, int]:
    counts = dict.fromkeys(listing.classes, 0)
    for label in listing.splits["train"].labels:
        counts[label] += 1
    return counts


def _report_unreadable(errors: list[DecodeError], listing: Listing, data: ImageFolder) -> None:
    """Raise, or warn of, the files that cannot be read: once, with their number."""
    if not errors:
        return
    total = sum(map(len, listing.splits.values()))
    message = error_message(errors, total)
    if data.unreadable == "error":
        raise UserError(f"{message}; `--data.unreadable skip` leaves them out")
    if len(errors) == total:
        raise UserError(message)
    warnings.warn(f"{message}; they are left out", stacklevel=3)


def error_message(errors: list[DecodeError], total: int) -> str:
    """How many files cannot be read, and the first of them."""
    first = "; ".join(f"{error.path} ({error.reason})" for error in errors[:SHOWN_ERRORS])
    more = "; ..." if len(errors) > SHOWN_ERRORS else ""
    return f"{len(errors):,} of {total:,} image files cannot be read: {first}{more}"
