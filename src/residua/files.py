"""Atomic writes, and reads with size limits for untrusted files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from torch import Tensor

from residua.errors import escaped, is_utf8

MAX_TEXT_BYTES = 2**26
"""The largest text file that is read. Recipes and logs are far smaller."""
MAX_NODES, MAX_DEPTH = 200_000, 40
"""Limits of a parsed document. YAML anchors can expand a few lines to billions of values."""


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file completely or not at all. An existing file stays until it is replaced.

    The content goes to a temporary file beside the path, is synced to disk, and replaces the path.
    A symbolic link is replaced, not followed.

    Raises:
        OSError: the file cannot be written.
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


def append_line(path: Path, line: str) -> None:
    """Append a line to a file and sync it to disk.

    Raises:
        OSError: the file cannot be written, or it is a symbolic link.
    """
    with open_append(path) as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def open_append(path: Path) -> TextIO:
    """Open a file for appending. Create it if needed; do not follow a symbolic link."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")


def read_bytes(path: Path) -> bytes:
    """Read a file of at most `MAX_TEXT_BYTES`.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is too large.
    """
    with path.open("rb") as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise ValueError(f"it has more than {MAX_TEXT_BYTES:,} bytes")
    return content


def read_safetensors(path: Path, max_bytes: int) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """Read the tensors (on the CPU) and the metadata of a safetensors file.

    The format contains no code, and no tensor can be larger than the file.

    Args:
        path: the file.
        max_bytes: the largest size that is read.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is larger than `max_bytes`, or not a safetensors file.
    """
    if path.stat().st_size > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, without its tensors.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a safetensors file.
    """
    with path.open("rb"):  # An error of the system says more than that of the library.
        pass
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None


def check_tree_size(tree: Any) -> Any:
    r"""Check a parsed document against the size and depth limits, and return it.

    Its text must also be text: JSON can have half a character, as in "\ud800", and the names of
    files can have bytes that are not UTF-8.

    Raises:
        ValueError: the document exceeds a limit, or its text cannot be written as UTF-8.
    """
    stack, count = [(tree, 0)], 0
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise ValueError(f"it has more than {MAX_NODES:,} values, or {MAX_DEPTH} levels")
        if isinstance(node, dict | list):
            children = node.values() if isinstance(node, dict) else node
            stack += [(child, depth + 1) for child in children]
        for text in node if isinstance(node, dict) else [node]:
            if isinstance(text, str) and not is_utf8(text):
                raise ValueError(f"{escaped(text)} is not valid UTF-8")
    return tree
