"""The image files that words of a command line name: files, folders, patterns, standard input."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from residua.data.decoding import SUFFIXES
from residua.errors import UserError

STDIN = "-"


def find_images(words: Sequence[str]) -> list[str]:
    """List the files that words name, in their order; folders are read recursively, sorted.

    Args:
        words: paths of files, which are taken whatever their suffix, and folders, of which the
            files with a suffix of images are taken; patterns as in `'photos/*.png'`; `-` reads
            paths from standard input, one a line, or separated by NUL as by `find -print0`.

    Raises:
        UserError: a folder has no images, or no file matches a pattern.
    """
    return [path for word in words for path in _files_of_word(word)]


def _files_of_word(word: str) -> Iterator[str]:
    if word == STDIN:
        for path in _stdin_paths():
            yield from _files_of_path(path)
    elif glob.has_magic(word) and not os.path.lexists(word):
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - absolute patterns too
        if not matches:
            raise UserError(f"no file matches {word}")
        for path in matches:
            yield from _files_of_path(path)
    else:
        yield from _files_of_path(word)


def _stdin_paths() -> list[str]:
    content = sys.stdin.buffer.read()
    separated = content.split(b"\0") if b"\0" in content else content.splitlines()
    paths = [os.fsdecode(path) for path in separated if path]
    if not paths:
        raise UserError("standard input has no paths: it takes one a line")
    return paths


def _files_of_path(path: str) -> Iterator[str]:
    """A file, or the images of a folder; what does not exist is reported when it is read."""
    if not Path(path).is_dir():
        yield path
        return
    found = False
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                found = True
                yield str(Path(folder, name))
    if not found:
        raise UserError(f"{path} has no images: no file ends in {' '.join(sorted(SUFFIXES))}")
