"""All that resumption needs: one object, one save, one load."""

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from residua import files
from residua.errors import UserError
from residua.models import ResidualNetwork
from residua.runs.records import Rest, checked, in_order

Record = dict[str, Any]
"""One finished epoch, as the log has it."""
TALLIED = 5
"""Places of a tally before those of the layer groups."""
ROOM = 2**26
"""Bytes that a checkpoint may have beyond its tensors."""


class CorruptCheckpoint(UserError):
    """A file is not what was written: cut short, changed, or never whole."""


@dataclass
class TrainingState:
    """Everything that changes while a network trains.

    Randomness is no part of it: every draw is a pure function of the seed and the step.
    """

    network: ResidualNetwork
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    """The averaged weights; empty without averaging."""
    scaler: torch.amp.GradScaler
    tally: Tensor
    """(5 + groups,): summed over the running epoch: loss x images, correct images, images, gradient
    norm; then the last loss; then, summed, each layer group's gradient norm."""
    step: int = 0
    seconds: float = 0.0
    """Of training in the running epoch."""
    skipped_steps: int = 0
    """Steps of the running epoch that the gradient scaler left out."""
    rollbacks: int = 0
    """How often the training was set back because it diverged."""
    history: list[Record] = field(default_factory=list)
    """The finished epochs."""

    @torch.no_grad()
    def count(self, loss: Tensor, correct: Tensor, images: int, norms: Tensor) -> None:
        """Add a step to the tally; without waiting for the device, but for float16.

        A step of float16 whose scaled gradients overflowed was left out by the scaler, which then
        scales less: such gradients have no norm, and say nothing of the training.

        Args:
            loss: scalar, the mean of the batch.
            correct: scalar, images classified correctly.
            images: of the batch.
            norms: (groups,), of the gradients.
        """
        self.tally[TALLIED - 1].zero_()
        seen = torch.full_like(loss, images)
        norm = torch.linalg.vector_norm(norms)
        if self.scaler.is_enabled() and not bool(norm.isfinite()):
            self.skipped_steps += 1
            norm, norms = torch.zeros_like(norm), torch.zeros_like(norms)
        self.tally += torch.cat(
            [torch.stack([loss * images, correct, seen, norm, loss]).float(), norms]
        )

    def save(self, path: Path) -> None:
        """Write everything to a safetensors file that is whole or not there.

        Raises:
            OSError: the file system refused.
        """
        tensors = {name: value.detach().cpu().contiguous() for name, value in self._tensors()}
        rest = {
            "step": self.step,
            "seconds": self.seconds,
            "left_out": self.skipped_steps,
            "rollbacks": self.rollbacks,
            "history": self.history,
            "scaler": self.scaler.state_dict(),
        }
        state = json.dumps(rest)
        files.write_atomic(path, save(tensors, {"state": state, "sha256": _digest(tensors, state)}))

    def load(self, path: Path) -> None:
        """Take everything from a file that `save` wrote; whole, or not at all.

        Raises:
            Damaged: the file is missing or damaged.
            UserError: it is of another network, optimiser or precision.
        """
        own = dict(self._tensors())
        tensors, state = read(path, 3 * sum(value.nbytes for value in own.values()) + ROOM)
        try:
            rest = checked(Rest, json.loads(state))
            in_order(rest["history"])
            if rest["history"] and rest["history"][-1]["epoch"] != len(rest["history"]):
                raise ValueError("epochs are missing")
        except (ValueError, RecursionError) as error:
            raise CorruptCheckpoint(f"{path} is damaged: {error}") from None
        wrong = self._mismatch(tensors)
        if wrong is not None:
            raise UserError(f"{path} is of another network or optimiser: it differs in {wrong}")
        if rest["scaler"].keys() != self.scaler.state_dict().keys():
            raise UserError(f"{path} is of another precision")
        with torch.no_grad():
            for name in own.keys() & tensors.keys():
                own[name].copy_(tensors[name])
        self._restore_optimizer(tensors)
        self.scaler.load_state_dict(rest["scaler"])
        self.step, self.seconds, self.history = rest["step"], rest["seconds"], rest["history"]
        self.skipped_steps, self.rollbacks = rest.get("left_out", 0), rest.get("rollbacks", 0)

    def _tensors(self) -> list[tuple[str, Tensor]]:
        named = [(f"network.{name}", value) for name, value in self.network.state_dict().items()]
        named += [(f"average.{name}", value) for name, value in self.average.items()]
        for place, weight in enumerate(self._weights()):
            for key, value in self.optimizer.state[weight].items():
                if value is not None:
                    named.append((f"optimizer.{place}.{key}", torch.as_tensor(value)))
        return [*named, ("tally", self.tally)]

    def _weights(self) -> list[Tensor]:
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    def _mismatch(self, tensors: Mapping[str, Tensor]) -> str | None:
        """The name of a tensor that this state has no place for, or lacks; None for none."""
        places = {name: value for name, value in self._tensors() if not _of_optimizer(name)}
        for place, weight in enumerate(self._weights()):
            places |= {name: weight for name in tensors if _of_optimizer(name) == str(place)}
        wrong = places.keys() ^ tensors.keys()
        wrong |= {
            name
            for name in places.keys() & tensors.keys()
            if (places[name].shape, places[name].dtype)
            != (tensors[name].shape, tensors[name].dtype)
        }
        return min(wrong, default=None)

    def _restore_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        weights = self._weights()
        self.optimizer.state.clear()
        for name, value in tensors.items():
            if place := _of_optimizer(name):
                weight = weights[int(place)]
                # Fused kernels walk weight and momentum side by side in memory: same strides.
                self.optimizer.state[weight][name.split(".", 2)[2]] = torch.empty_like(
                    weight
                ).copy_(value)


def _of_optimizer(name: str) -> str | None:
    """The place of the weight whose optimiser's tensor it is; None for all other tensors."""
    found = re.fullmatch(r"optimizer\.(\d+)\.\w+", name)
    return found and found[1]


def read(path: Path, most: int = sys.maxsize) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint on the CPU, and the rest of the state as JSON.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        Damaged: the file is missing or damaged.
    """
    if not path.is_file():
        raise CorruptCheckpoint(f"there is no checkpoint {path}")
    try:
        tensors, said = files.read_safetensors(path, most)
    except (OSError, ValueError) as error:
        raise CorruptCheckpoint(f"{path} is damaged: {error}") from None
    if "state" not in said or said.get("sha256") != _digest(tensors, said["state"]):
        raise CorruptCheckpoint(f"{path} is damaged: its contents do not match its checksum")
    return tensors, said["state"]


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
