"""Files: written whole or not at all, and read as what they are, data that anyone may have made."""

import os
from pathlib import Path
from typing import Any, TextIO

from safetensors import SafetensorError, safe_open
from torch import Tensor

LARGEST = 2**26
"""Bytes of a text file that is read: no recipe and no log comes near it."""
NODES, DEPTH = 200_000, 40
"""Values of a tree, and how deep they may lie: a few lines of YAML can stand for billions."""


def write(path: Path, content: bytes | str) -> None:
    """Write a file that is whole or not there; what was there before stays until then.

    It is written beside its place, forced to the disk, and moved: a link is replaced, not followed.

    Raises:
        OSError: the file system refused.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with partial.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def append(path: Path, line: str) -> None:
    """Add a line to a file, forced to the disk.

    Raises:
        OSError: the file system refused, or the file is a link.
    """
    with extending(path) as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def extending(path: Path) -> TextIO:
    """A file opened to be extended, made where there is none, and never through a link."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")


def text(path: Path) -> bytes:
    """The bytes of a text file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    return content


def tensors(path: Path, most: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file on the CPU, and what it says besides.

    Args:
        path: the file. Its format has no code, and no tensor that is larger than the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than that, or no such file.
    """
    if path.stat().st_size > most:
        raise ValueError(f"it has more than {most:,} bytes")
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return found, file.metadata() or {}
    except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None


def bounded(tree: Any) -> Any:
    """What a JSON or YAML file said, seen to be neither too large nor too deep to be gone through.

    Raises:
        ValueError: it is.
    """
    ahead, seen = [(tree, 0)], 0
    while ahead:
        node, depth = ahead.pop()
        seen += 1
        if seen > NODES or depth > DEPTH:
            raise ValueError(f"it has more than {NODES:,} values, or {DEPTH} levels")
        if isinstance(node, dict | list):
            inside = node.values() if isinstance(node, dict) else node
            ahead += [(each, depth + 1) for each in inside]
    return tree
