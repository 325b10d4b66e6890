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

from residua.device import remedy
from residua.divergence import Diverged
from residua.environment import environment, unlike
from residua.epochs import best_epoch, ensure_finite, finish, finish_epoch, is_over
from residua.errors import UserError
from residua.evaluation import Evaluation
from residua.evidence import draw_samples, keep_filters, keep_samples
from residua.gradients import norms
from residua.models import set_clock
from residua.optim import here
from residua.recipe import Recipe
from residua.recovery import BrokenOff, Until, breakable, restore, roll_back
from residua.run import Run, ensure_vacant
from residua.seed import derive
from residua.setting import Setting, prepare
from residua.state import Record, State

WATCHED = 100
"""Steps between looks at whether the loss is finite: each look makes the device wait."""


@dataclass(frozen=True)
class Started:
    """The training begins, or goes on."""

    run: Run
    setting: Setting
    step: int
    """Steps taken already."""


@dataclass(frozen=True)
class Stepped:
    """A step was taken."""

    step: int
    loss: Tensor
    """Of the batch: a scalar on the device."""
    tally: Tensor
    """Of the running epoch, as `State` has it."""


@dataclass(frozen=True)
class EpochDone:
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
    slowed: float
    """What learning rates are multiplied with from now on."""


@dataclass(frozen=True)
class Stopped:
    """The training was stopped on request, and saved."""

    step: int


@dataclass(frozen=True)
class Finished:
    """The training is over."""

    result: dict[str, Any]


Event = Started | Stepped | EpochDone | RolledBack | Stopped | Finished


def train(recipe: Recipe, path: Path | str, until: Until = lambda _: False) -> Iterator[Event]:
    """Train a new network, as a run in a directory; iterating makes it go on.

    Raises:
        UserError: what the user has to change; before anything is written, where that can be.
    """
    ensure_vacant(Path(path))
    setting, state = prepare(recipe)
    drawn = draw_samples(setting, state)
    run = Run.create(Path(path))
    with run.held():
        ensure_vacant(run.path)
        run.record("environment.json", environment(setting.device, recipe.seed))
        run.record("data.json", setting.provenance)
        keep_samples(run, drawn)
        keep_filters(run, 0, state.network)
        run.save(state, False, recipe.keep_last)
        run.record("recipe.json", recipe.model_dump(mode="json"))
        yield from _carried_on(run, setting, state, until)


def resume(path: Path | str, until: Until = lambda _: False) -> Iterator[Event]:
    """Go on with a run from its last sound checkpoint; iterating makes it go on.

    On a CPU the outcome is, bit for bit, that of a training that was never stopped.

    Raises:
        UserError: there is no run, its files are damaged, or another process is at work on it.
    """
    run = Run.open(Path(path))
    with run.held():
        setting, state = prepare(run.recipe)
        if run.provenance not in ({}, setting.provenance):
            raise UserError(f"{path} was begun with other images than those that are there now")
        changes = unlike(run.environment, environment(setting.device, setting.recipe.seed))
        if changes and run.environment:
            warnings.warn(
                f"{path} goes on, but not bit for bit: {'; '.join(changes)}", stacklevel=2
            )
        restore(state, run.saved)
        run.rewind(state.history)
        yield from _carried_on(run, setting, state, until)


def _carried_on(run: Run, setting: Setting, state: State, until: Until) -> Iterator[Event]:
    """The loop, watched: what it cannot go on with ends or mends it here."""
    interruptible = breakable(setting, state, until)
    while True:
        try:
            for event in _loop(run, interruptible, state, until):
                if isinstance(event, Stepped) and event.step % WATCHED == 0:
                    ensure_finite(state, 1 + (event.step - 1) // setting.batches.steps_per_epoch)
                yield event
            return
        except Diverged as found:
            roll_back(run, setting, state, found)
            yield RolledBack(str(found), state.step, setting.clock(state).slowed)
        except BrokenOff:
            if state.step > len(state.history) * setting.batches.steps_per_epoch:
                run.stop(state)
            yield Stopped(run.step)
            return
        except RuntimeError as error:
            if advice := remedy(error):
                raise UserError(f"step {state.step + 1}: {advice}") from error
            raise


def _loop(run: Run, setting: Setting, state: State, until: Until) -> Iterator[Event]:
    evaluations: dict[int, Evaluation] = {}
    yield Started(run, setting, state.step)
    while True:
        epoch, into = divmod(state.step, setting.batches.steps_per_epoch)
        if into == 0 and epoch > len(state.history):
            record = finish_epoch(setting, state, evaluations)
            best = epoch == best_epoch(setting, state)
            run.append(record)
            keep_filters(run, epoch, state.network)
            if best or is_over(setting, state) or epoch % setting.recipe.save_every == 0:
                run.save(state, best, setting.recipe.keep_last)
            yield EpochDone(record, best)
        if is_over(setting, state):
            yield Finished(finish(run, setting, state, evaluations))
            return
        if until(setting.clock(state)):
            run.stop(state)
            yield Stopped(state.step)
            return
        started = time.perf_counter()
        loss = step(setting, state)
        state.seconds += time.perf_counter() - started
        yield Stepped(state.step, loss, state.tally)


def step(setting: Setting, state: State) -> Tensor:
    """One batch: augment, forward, backward, update. Returns the loss, a scalar."""
    recipe, clock = setting.recipe, setting.clock(state)
    set_clock(state.network, clock)
    recipe.optimizer.set_clock(state.optimizer, clock)
    indices = setting.indices(state.step)
    images, targets = setting.augmented(setting.draw(indices, state))

    def gradients() -> tuple[Tensor, Tensor]:
        torch.manual_seed(derive(recipe.seed, "network", state.step))
        losses, logits = [], []
        parts = images.chunk(recipe.accumulate), targets.chunk(recipe.accumulate)
        for part, wanted in zip(*parts, strict=True):
            said = setting.run(part)
            loss = recipe.loss(said, wanted) * (len(part) / len(images))
            torch.autograd.backward(state.scaler.scale(loss))
            losses.append(loss.detach())
            logits.append(said.detach())
        return torch.stack(losses).sum(), torch.cat(logits)

    loss, logits = (recipe.sharpness or here)(state.network, clock, gradients)
    state.scaler.unscale_(state.optimizer)
    sizes = norms(state.network.groups())
    if recipe.clip_norm is not None:
        weights = state.network.parameters()
        clip_grads_with_norm_(weights, recipe.clip_norm, torch.linalg.vector_norm(sizes))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if recipe.average is not None:
        recipe.average.update(state.average, state.network, clock)
    correct = (logits.argmax(1) == setting.splits.train.labels[indices]).sum()
    state.count(loss, correct, len(indices), sizes)
    state.step += 1
    return loss
