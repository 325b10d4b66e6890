"""Divergence: noticing it, and rolling back to a sound checkpoint."""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from residua.distributed import World
from residua.errors import UserError
from residua.runs.checkpoint import Checkpoint, CorruptCheckpoint
from residua.runs.records import CheckpointMetadata, parse_json
from residua.runs.run import Run
from residua.training.session import TrainingSession
from residua.training.state import TrainingState

MIN_LOSS_SCALE = 2**-14
"""Float16's smallest normal number: gradients that overflow even at this scale are infinite."""
CHECKPOINT_OVERHEAD = 2**26
"""Bytes that a checkpoint may have beyond its tensors."""


class Diverged(Exception):
    """A loss, a gradient or a weight is not finite; says which, and when."""


def check_finite(state: TrainingState, epoch: int) -> None:
    """Check the running epoch's losses and gradients; waits for the device.

    Raises:
        Diverged: one is not finite.
    """
    if not state.metrics.is_finite():
        quantity = "gradient" if state.metrics.loss_is_finite() else "loss"
        raise Diverged(f"the {quantity} is not finite in epoch {epoch}")


def check_weights_finite(state: TrainingState, epoch: int) -> None:
    """Check whether a training can continue from these weights; waits for the device.

    Raises:
        Diverged: a weight is not finite, or float16 overflows at any scale.
    """
    weights = state.network.state_dict().values()
    if not bool(torch.stack([weight.isfinite().all() for weight in weights]).all()):
        raise Diverged(f"a weight is not finite after epoch {epoch}")
    if state.scaler.is_enabled() and state.scaler.get_scale() < MIN_LOSS_SCALE:
        raise Diverged(f"the gradient is not finite in epoch {epoch}, however it is scaled")


def check_evaluation_finite(loss: float, split: str, epoch: int) -> None:
    """Check the loss of an evaluation.

    Raises:
        Diverged: it is not finite.
    """
    if not math.isfinite(loss):
        raise Diverged(f"the loss on the {split} set is not finite in epoch {epoch}")


def load_checkpoint(state: TrainingState, path: Path) -> None:
    """Take everything from a checkpoint.

    Raises:
        CorruptCheckpoint: the file is missing or damaged.
        UserError: it is of another network, optimiser or precision.
    """
    state.load(Checkpoint.load(path, 4 * state.nbytes() + CHECKPOINT_OVERHEAD))


def restore_latest(state: TrainingState, checkpoints: Sequence[Path]) -> None:
    """Take everything from the latest checkpoint that is not damaged; warn of damaged ones.

    Args:
        state: what is restored.
        checkpoints: oldest first.

    Raises:
        UserError: there is none, or it is of another network.
    """
    for path in reversed(checkpoints):
        try:
            load_checkpoint(state, path)
        except CorruptCheckpoint as error:
            warnings.warn(f"{error}; using the checkpoint before it", stacklevel=2)
        else:
            return
    raise UserError(f"none of {len(checkpoints)} checkpoints is undamaged: cannot continue")


def roll_back(run: Run, session: TrainingSession, state: TrainingState, cause: Diverged) -> None:
    """Return to the latest checkpoint that was due, as the recipe says, and rewrite the log.

    Checkpoints of a stop are not used, so a training that was stopped in between takes the same
    way as one that was not.

    Raises:
        UserError: the recipe says to stop, or the training was rolled back often enough.
    """
    rollbacks = state.rollbacks
    if rollbacks >= session.recipe.on_divergence.max_rollbacks:
        after = f", after {rollbacks} rollbacks" if rollbacks else ""
        raise UserError(
            f"{cause}{after}: lower --optimizer.lr, set --max-grad-norm, or use "
            "--on-divergence.kind roll_back; the last checkpoint is kept"
        ) from None
    with session.world.same_outcome():
        if session.world.is_writer:
            restore_latest(state, run.epoch_checkpoints)
            state.rollbacks = rollbacks + 1
            run.rewrite_log(state.history)
    share_state(state, session.world)


def share_state(state: TrainingState, world: World) -> None:
    """Give every rank the writer's state, bit for bit."""
    if world.size == 1:
        return
    own = state.to_checkpoint()
    header = world.from_writer(lambda: _describe(own))
    if world.is_writer:
        world.broadcast([own.tensors[name] for name in sorted(own.tensors)])
        return
    tree = json.loads(header)
    tensors = {
        name: torch.empty(shape, dtype=getattr(torch, dtype))
        for name, (shape, dtype) in sorted(tree["tensors"].items())
    }
    world.broadcast(list(tensors.values()))
    state.load(Checkpoint(tensors, parse_json(CheckpointMetadata, tree["metadata"])))


def _describe(checkpoint: Checkpoint) -> str:
    """A checkpoint's metadata, and the shapes and types of its tensors, as JSON."""
    tensors = {
        name: (tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in checkpoint.tensors.items()
    }
    return json.dumps({"metadata": checkpoint.metadata.to_json_text(), "tensors": tensors})
