"""Everything that changes while a network trains: one object, one save, one load."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from residua.errors import UserError
from residua.models import ResidualNetwork
from residua.recipes.recipe import Recipe
from residua.runs.checkpoint import Checkpoint, first_mismatch
from residua.runs.records import CheckpointMetadata, EpochRecord
from residua.training.metrics import EpochMetrics
from residua.training.reducer import Reducer

FREE_FIELDS: dict[str, bool | set[str]] = {
    "name": True,
    "data": {"root", "path"},
    "init": {"source"},
    "device": True,
    "evaluate_every": True,
    "tta": True,
    "save_every": True,
    "keep_checkpoints": True,
    "tensorboard": True,
    "publish": True,
    "sync": True,
    "target_accuracy": True,
    "early_stopping": True,
    "on_divergence": True,
}
"""Fields of a recipe that may change when a training is resumed; all others decide the weights."""


@dataclass
class TrainingState:
    """Everything that changes while a network trains.

    Random numbers are not part of it: each is a pure function of the seed and the step.
    """

    recipe: Recipe
    network: ResidualNetwork
    forward: Callable[[Tensor], Tensor]
    """The network, compiled if the recipe says so."""
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    """The averaged weights; empty without averaging."""
    scaler: torch.amp.GradScaler
    metrics: EpochMetrics
    """Of the running epoch."""
    layer_groups: dict[str, list[nn.Parameter]]
    """The parameters that are trained at some time, by layer group."""
    reducer: Reducer
    step: int = 0
    seconds: float = 0.0
    """Of training in the running epoch."""
    skipped_steps: int = 0
    """Steps of the running epoch that the gradient scaler skipped."""
    rollbacks: int = 0
    """How often the training was rolled back because it diverged."""
    history: list[EpochRecord] = field(default_factory=list)
    """The finished epochs."""

    def add_step(self, loss: Tensor, correct: Tensor, images: int, group_norms: Tensor) -> None:
        """Add a step to the metrics; without waiting for the device, except in float16.

        The scaler skips a float16 step whose scaled gradients overflowed: such gradients have no
        norm.

        Args:
            loss: scalar, the batch's mean.
            correct: scalar, images classified correctly.
            images: of the batch.
            group_norms: (groups,), the norms of the gradients.
        """
        norm = torch.linalg.vector_norm(group_norms)
        if self.scaler.is_enabled() and not bool(norm.isfinite()):
            self.skipped_steps += 1
            norm, group_norms = torch.zeros_like(norm), torch.zeros_like(group_norms)
        self.metrics.add(loss, correct, images, norm, group_norms)

    def start_epoch(self) -> None:
        """Reset what is counted within an epoch."""
        self.metrics.reset()
        self.seconds, self.skipped_steps = 0.0, 0

    def to_checkpoint(self) -> Checkpoint:
        """Everything, on the CPU; on a CPU the tensors are those of the state itself."""
        metadata = CheckpointMetadata(
            step=self.step,
            seconds=self.seconds,
            skipped_steps=self.skipped_steps,
            rollbacks=self.rollbacks,
            optimizer=type(self.optimizer).__name__,
            recipe=self.recipe,
            history=tuple(self.history),
            scaler=self.scaler.state_dict(),
        )
        tensors = {name: value.detach().cpu() for name, value in self._own_tensors().items()}
        return Checkpoint(tensors | _state_tensors(self.optimizer), metadata)

    def load(self, checkpoint: Checkpoint) -> None:
        """Take everything from a checkpoint, completely or not at all.

        Raises:
            UserError: it is of another recipe, network, optimiser or precision.
        """
        tensors, metadata = checkpoint.tensors, checkpoint.metadata
        check_same_training(metadata.recipe, self.recipe, metadata.step)
        own = self._own_tensors()
        states = {name: value for name, value in tensors.items() if name.startswith("optimizer.")}
        indices = {name.split(".")[1] for name in states}
        expected = own | {
            name: value
            for name, value in self._first_optimizer_tensors(states).items()
            if name.split(".")[1] in indices
        }
        mismatch = first_mismatch(expected, tensors)
        if mismatch is None and metadata.optimizer != type(self.optimizer).__name__:
            mismatch = f"the optimiser, {metadata.optimizer or 'unknown'}"
        if mismatch is not None:
            raise UserError(
                f"the checkpoint of step {metadata.step} is of another network or optimiser: it "
                f"differs in {mismatch}"
            )
        if metadata.scaler.keys() != self.scaler.state_dict().keys():
            raise UserError(f"the checkpoint of step {metadata.step} is of another precision")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(tensors[name])
        self._load_optimizer(states)
        self.scaler.load_state_dict(dict(metadata.scaler))
        self.step, self.seconds = metadata.step, metadata.seconds
        self.skipped_steps, self.rollbacks = metadata.skipped_steps, metadata.rollbacks
        self.history = list(metadata.history)

    def nbytes(self) -> int:
        """The size of network, average and metrics; an optimiser's state comes on top."""
        return sum(value.nbytes for value in self._own_tensors().values())

    def _own_tensors(self) -> dict[str, Tensor]:
        """All tensors but the optimiser's, by their names in a checkpoint."""
        weights = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        averages = {f"average.{name}": value for name, value in self.average.items()}
        return weights | averages | {"metrics": self.metrics.totals}

    def _first_optimizer_tensors(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the optimiser's state is made of: that of a copy after one step of copied weights.

        The state of a parameter in a checkpoint is empty, or has these names, shapes and types.

        Args:
            states: the optimiser's tensors in the checkpoint.
        """
        has_momentum = any(name.endswith(".momentum_buffer") for name in states)
        copied = object.__new__(type(self.optimizer))
        vars(copied).update(vars(self.optimizer), state=defaultdict(dict), param_groups=[])
        for group in self.optimizer.param_groups:
            weights = [weight.detach().clone() for weight in group["params"]]
            for weight in weights:
                weight.grad = torch.zeros_like(weight)
            # Torch's optimisers have no momentum buffers while the momentum is 0, as it always or
            # for some steps of a schedule may be.
            momentum = {"momentum": 0.5} if "momentum" in group and has_momentum else {}
            copied.param_groups.append(group | {"params": weights} | momentum)
        copied.step()
        return _state_tensors(copied)

    def _load_optimizer(self, states: Mapping[str, Tensor]) -> None:
        """Replace the optimiser's state, which may have any shape (a counter, a matrix)."""
        parameters = _parameters(self.optimizer)
        self.optimizer.state.clear()
        for name, value in states.items():
            _, index, key = name.split(".")
            parameter = parameters[int(index)]
            # Fused kernels walk weight and momentum side by side in memory: same strides.
            loaded = (
                torch.empty_like(parameter, dtype=value.dtype).copy_(value)
                if value.shape == parameter.shape
                else value.to(self._state_device(value, parameter), copy=True)
            )
            self.optimizer.state[parameter][key] = loaded

    def _state_device(self, value: Tensor, parameter: Tensor) -> torch.device:
        """Where torch's optimisers keep a state: counters on the CPU, unless kernels are fused."""
        fused = self.optimizer.defaults.get("fused") or self.optimizer.defaults.get("capturable")
        return parameter.device if value.ndim or fused else torch.device("cpu")


def check_same_training(before: Recipe | None, now: Recipe, step: int) -> None:
    """Check that a training with the recipe of a checkpoint can be continued with another recipe.

    Args:
        before: of the checkpoint.
        now: of the training; extensions after the checkpoint's step are no difference.
        step: of the checkpoint.

    Raises:
        UserError: they differ in a field that the weights depend on.
    """
    if before is None:
        return
    since = now.extensions[len(before.extensions) :]
    if since and step <= since[0].step:
        earlier = now.extensions[: len(before.extensions)]
        now = now.replace(epochs=since[0].epochs, extensions=earlier)
    old, new = (recipe.model_dump(mode="json", exclude=FREE_FIELDS) for recipe in (before, now))
    differences = "; ".join(_differences(old, new))
    if differences:
        free = ", ".join(sorted(name for name in FREE_FIELDS if name not in ("data", "init")))
        longer = (
            "; `residua resume RUN --epochs N` extends it" if old["epochs"] != new["epochs"] else ""
        )
        raise UserError(
            f"the recipe was changed in a field that the weights depend on: {differences}; a "
            f"resumed training may change only {free}, data.root, data.path{longer}"
        )


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """The fields in which two recipes differ, each with its dotted path and both values."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for name in sorted(new):
            yield from _differences(old[name], new[name], f"{path}.{name}".removeprefix("."))
    elif old != new:
        yield f"{path} is {new!r}, was {old!r}"


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of each parameter on the CPU, by the names in a checkpoint."""
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value).detach().cpu()
        for index, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state[parameter].items()
        if value is not None
    }
