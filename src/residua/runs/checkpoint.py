"""Checkpoints: one safetensors file that holds everything resumption needs, with a checksum."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from residua import files
from residua.errors import UserError
from residua.runs.records import CheckpointMetadata, parse_json


class CorruptCheckpoint(UserError):
    """A file is not what was written: missing, cut short or changed."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors on the CPU, and the rest of the state."""

    tensors: dict[str, Tensor]
    metadata: CheckpointMetadata

    def save(self, path: Path) -> None:
        """Write the file completely or not at all.

        Raises:
            OSError: the file system refused.
        """
        tensors = {name: value.contiguous() for name, value in self.tensors.items()}
        state = self.metadata.to_json_text()
        metadata = {"format": "pt", "state": state, "sha256": tensor_digest(tensors, state)}
        files.write_atomic(path, save(tensors, metadata))

    @classmethod
    def load(cls, path: Path, max_bytes: int = sys.maxsize) -> "Checkpoint":
        """Read a checkpoint and verify its checksum.

        Args:
            path: the file.
            max_bytes: the largest size that is read.

        Raises:
            CorruptCheckpoint: the file is missing or damaged.
        """
        if not path.is_file():
            raise CorruptCheckpoint(f"there is no checkpoint {path}")
        try:
            tensors, metadata = files.read_safetensors(path, max_bytes)
            state = metadata.get("state", "")
            if metadata.get("sha256") != tensor_digest(tensors, state):
                raise ValueError("its contents do not match its checksum")
            return cls(tensors, parse_json(CheckpointMetadata, state))
        except (OSError, ValueError) as error:
            raise CorruptCheckpoint(f"{path} is damaged: {error}") from None


def tensor_digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """SHA-256, in hex, of a text and of named CPU tensors (names, types, shapes and values)."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def first_mismatch(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """The first name whose tensor is missing on one side, or of another shape or type."""
    names = own.keys() ^ other.keys()
    names |= {
        name
        for name in own.keys() & other.keys()
        if (own[name].shape, own[name].dtype) != (other[name].shape, other[name].dtype)
    }
    return min(names, default=None)
