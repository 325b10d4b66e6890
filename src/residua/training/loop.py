"""The training loop: an iterator of events, which whoever iterates may show, log or ignore."""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

from residua.devices import error_advice
from residua.errors import UserError
from residua.inference.evaluation import Evaluation
from residua.models import set_progress
from residua.optim import plain_gradients
from residua.recipes.divergence import Diverged
from residua.recipes.recipe import Recipe
from residua.runs.artifacts import draw_samples, save_filters, save_samples
from residua.runs.environment import environment, environment_changes
from residua.runs.run import Run, check_available
from residua.seeding import derive_seed
from residua.training.epoch import best_epoch, ensure_finite, finish, finish_epoch, is_finished
from residua.training.gradients import norms
from residua.training.recovery import (
    EvaluationInterrupted,
    StopCondition,
    breakable,
    restore,
    roll_back,
)
from residua.training.session import TrainingSession, build_session
from residua.training.state import Record, TrainingState

FINITE_CHECK_EVERY = 100
"""Steps between looks at whether the loss is finite: each look makes the device wait."""


@dataclass(frozen=True)
class Started:
    """The training begins, or goes on."""

    run: Run
    session: TrainingSession
    step: int
    """Steps taken already."""


@dataclass(frozen=True)
class StepFinished:
    """A step was taken."""

    step: int
    loss: Tensor
    """Of the batch: a scalar on the device."""
    tally: Tensor
    """Of the running epoch, as `State` has it."""


@dataclass(frozen=True)
class EpochFinished:
    """An epoch was finished, logged, and saved where that was due."""

    record: Record
    best: bool
    """Whether it is the best so far."""


@dataclass(frozen=True)
class RolledBack:
    """The training diverged, and goes on from an earlier checkpoint with lower rates."""

    reason: str
    step: int
    """That it goes on after."""
    lr_scale: float
    """What learning rates are multiplied with from now on."""


@dataclass(frozen=True)
class Stopped:
    """The training was stopped on request, and saved."""

    step: int


@dataclass(frozen=True)
class Finished:
    """The training is over."""

    result: dict[str, Any]


Event = Started | StepFinished | EpochFinished | RolledBack | Stopped | Finished


def train(
    recipe: Recipe, path: Path | str, should_stop: StopCondition = lambda _: False
) -> Iterator[Event]:
    """Train a new network, as a run in a directory; iterating makes it go on.

    Raises:
        UserError: what the user has to change; before anything is written, where that can be.
    """
    check_available(Path(path))
    session, state = build_session(recipe)
    drawn = draw_samples(session, state)
    run = Run.create(Path(path))
    with run.locked():
        check_available(run.path)
        run.write_json("environment.json", environment(session.device, recipe.seed))
        run.write_json("data.json", session.data_fingerprint)
        save_samples(run, drawn)
        save_filters(run, 0, state.network)
        run.save(state, False, recipe.keep_checkpoints)
        run.write_json("recipe.json", recipe.model_dump(mode="json"))
        yield from run_with_recovery(run, session, state, should_stop)


def resume(path: Path | str, should_stop: StopCondition = lambda _: False) -> Iterator[Event]:
    """Go on with a run from its last sound checkpoint; iterating makes it go on.

    On a CPU the outcome is, bit for bit, that of a training that was never stopped.

    Raises:
        UserError: there is no run, its files are damaged, or another process is at work on it.
    """
    run = Run.open(Path(path))
    with run.locked():
        session, state = build_session(run.recipe)
        if run.data_fingerprint not in ({}, session.data_fingerprint):
            raise UserError(f"{path} was begun with other images than those that are there now")
        changes = environment_changes(
            run.environment, environment(session.device, session.recipe.seed)
        )
        if changes and run.environment:
            warnings.warn(
                f"{path} goes on, but not bit for bit: {'; '.join(changes)}", stacklevel=2
            )
        restore(state, run.saved)
        run.rewind(state.history)
        yield from run_with_recovery(run, session, state, should_stop)


def run_with_recovery(
    run: Run, session: TrainingSession, state: TrainingState, should_stop: StopCondition
) -> Iterator[Event]:
    """The loop, watched: what it cannot go on with ends or mends it here."""
    interruptible = breakable(session, state, should_stop)
    while True:
        try:
            for event in _loop(run, interruptible, state, should_stop):
                if isinstance(event, StepFinished) and event.step % FINITE_CHECK_EVERY == 0:
                    ensure_finite(state, 1 + (event.step - 1) // session.sampler.steps_per_epoch)
                yield event
            return
        except Diverged as found:
            roll_back(run, session, state, found)
            yield RolledBack(str(found), state.step, session.progress(state).lr_scale)
        except EvaluationInterrupted:
            if state.step > len(state.history) * session.sampler.steps_per_epoch:
                run.stop(state)
            yield Stopped(run.step)
            return
        except RuntimeError as error:
            if advice := error_advice(error):
                raise UserError(f"step {state.step + 1}: {advice}") from error
            raise


def _loop(
    run: Run, session: TrainingSession, state: TrainingState, should_stop: StopCondition
) -> Iterator[Event]:
    evaluations: dict[int, Evaluation] = {}
    yield Started(run, session, state.step)
    while True:
        epoch, into = divmod(state.step, session.sampler.steps_per_epoch)
        if into == 0 and epoch > len(state.history):
            record = finish_epoch(session, state, evaluations)
            best = epoch == best_epoch(session, state)
            run.append(record)
            save_filters(run, epoch, state.network)
            if best or is_finished(session, state) or epoch % session.recipe.save_every == 0:
                run.save(state, best, session.recipe.keep_checkpoints)
            yield EpochFinished(record, best)
        if is_finished(session, state):
            yield Finished(finish(run, session, state, evaluations))
            return
        if should_stop(session.progress(state)):
            run.stop(state)
            yield Stopped(state.step)
            return
        started = time.perf_counter()
        loss = step(session, state)
        state.seconds += time.perf_counter() - started
        yield StepFinished(state.step, loss, state.tally)


def step(session: TrainingSession, state: TrainingState) -> Tensor:
    """One batch: augment, forward, backward, update. Returns the loss, a scalar."""
    recipe, progress = session.recipe, session.progress(state)
    set_progress(state.network, progress)
    recipe.optimizer.set_progress(state.optimizer, progress)
    indices = session.indices(state.step)
    images, targets = session.make_batch(session.batch_random(indices, state))

    def gradients() -> tuple[Tensor, Tensor]:
        torch.manual_seed(derive_seed(recipe.seed, "network", state.step))
        losses, logits = [], []
        parts = (
            images.chunk(recipe.gradient_accumulation),
            targets.chunk(recipe.gradient_accumulation),
        )
        for part, wanted in zip(*parts, strict=True):
            said = session.forward_amp(part)
            loss = recipe.loss(said, wanted) * (len(part) / len(images))
            torch.autograd.backward(state.scaler.scale(loss))
            losses.append(loss.detach())
            logits.append(said.detach())
        return torch.stack(losses).sum(), torch.cat(logits)

    loss, logits = (recipe.sam or plain_gradients)(state.network, progress, gradients)
    state.scaler.unscale_(state.optimizer)
    sizes = norms(state.network.layer_groups())
    if recipe.max_grad_norm is not None:
        weights = state.network.parameters()
        clip_grads_with_norm_(weights, recipe.max_grad_norm, torch.linalg.vector_norm(sizes))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if recipe.weight_average is not None:
        recipe.weight_average.update(state.average, state.network, progress)
    correct = (logits.argmax(1) == session.splits.train.labels[indices]).sum()
    state.count(loss, correct, len(indices), sizes)
    state.step += 1
    return loss
