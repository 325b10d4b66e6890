"""All that resumption needs: one object, one save, one load."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from residua.errors import UserError
from residua.models import ResidualNetwork

Record = dict[str, Any]
"""One finished epoch, as the log has it."""
TALLIED = 5
"""Places of a tally before those of the layer groups."""


@dataclass
class State:
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
    history: list[Record] = field(default_factory=list)
    """The finished epochs."""

    @torch.no_grad()
    def count(self, loss: Tensor, correct: Tensor, images: int, norms: Tensor) -> None:
        """Add a step to the tally, without waiting for the device.

        Args:
            loss: scalar, the mean of the batch.
            correct: scalar, images classified correctly.
            images: of the batch.
            norms: (groups,), of the gradients.
        """
        self.tally[TALLIED - 1] = 0
        seen = torch.full_like(loss, images)
        norm = torch.linalg.vector_norm(norms)
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
            "history": self.history,
            "scaler": self.scaler.state_dict(),
        }
        state = json.dumps(rest)
        partial = path.with_name(f".{path.name}.partial")
        try:
            save_file(tensors, partial, {"state": state, "sha256": _digest(tensors, state)})
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        """Take everything from a file that `save` wrote; whole, or not at all.

        Raises:
            UserError: the file is missing, damaged, or of another network or optimiser.
        """
        tensors, state = read(path)
        own = dict(self._tensors())
        names = {name for name in tensors if not name.startswith("optimizer.")}
        wrong = names ^ {name for name in own if not name.startswith("optimizer.")}
        wrong |= {name for name in names & own.keys() if tensors[name].shape != own[name].shape}
        if wrong:
            raise UserError(f"{path} is of another network: it differs in {min(wrong)}")
        rest = json.loads(state)
        with torch.no_grad():
            for name in names:
                own[name].copy_(tensors[name])
        self._restore_optimizer(tensors, path)
        self.scaler.load_state_dict(rest["scaler"])
        self.step, self.seconds, self.history = rest["step"], rest["seconds"], rest["history"]

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

    def _restore_optimizer(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        weights = self._weights()
        self.optimizer.state.clear()
        for name, value in tensors.items():
            if not name.startswith("optimizer."):
                continue
            _, place, key = name.split(".", 2)
            if int(place) >= len(weights):
                raise UserError(f"{path} is of another optimiser: it has {name}")
            weight = weights[int(place)]
            # Fused kernels walk weight and momentum side by side in memory: same strides needed.
            like = torch.empty_like(weight) if value.shape == weight.shape else value.clone()
            self.optimizer.state[weight][key] = like.copy_(value)


def read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint on the CPU, and the rest of the state as JSON.

    Raises:
        UserError: the file is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if "state" not in said or said.get("sha256") != _digest(tensors, said["state"]):
        raise UserError(f"{path} is damaged: its contents do not match its checksum")
    return tensors, said["state"]


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
