"""The training loop: an iterator of events.

`_events` is the whole training: epochs, stops, the end and steps. `_recovering` around it handles
what the loop cannot continue with: divergence, a stop during an evaluation, a device error. `step`
is one optimiser step.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

from residua.devices import Stopwatch, error_advice, reset_peak_memory
from residua.distributed import World, current_world
from residua.errors import UserError
from residua.inference.evaluation import EvaluationInterrupted
from residua.models import set_progress, set_share
from residua.optim import plain_gradients
from residua.recipes.loading import parse_recipe
from residua.recipes.recipe import Recipe
from residua.runs.artifacts import Samples, save_file_list, save_filters, save_samples
from residua.runs.environment import RunEnvironment, collect_environment, environment_changes
from residua.runs.records import DataFingerprint
from residua.runs.run import Run, check_available, checkpoint_step
from residua.schedules import TrainingProgress
from residua.seeding import derive_seed
from residua.training.epoch import EvaluationCache, best_epoch, finish_epoch, is_finished
from residua.training.events import (
    CheckpointSaved,
    EpochFinished,
    Event,
    Finished,
    RolledBack,
    Started,
    StepFinished,
    Stopped,
)
from residua.training.extension import extend, extended_event
from residua.training.finish import finish_training
from residua.training.gradients import gradient_norms
from residua.training.recovery import (
    Diverged,
    check_finite,
    restore_latest,
    roll_back,
    share_state,
)
from residua.training.session import (
    TrainingSession,
    build_session,
    build_state,
    build_training,
)
from residua.training.state import TrainingState

StopCondition = Callable[[TrainingProgress], bool]
"""Asked before every step and between the batches of an evaluation; true saves and stops."""
LOCK_PATIENCE = 60.0
"""Seconds that several ranks wait for the lock of their run."""
FINITE_CHECK_EVERY = 100
"""Steps between checks whether the loss is finite: each check waits for the device."""


def never(_: TrainingProgress) -> bool:
    """The `StopCondition` of a training that runs to its end."""
    return False


def fit(recipe: Recipe, path: Path | str, should_stop: StopCondition = never) -> Run:
    """Train a new network to the end, as a run in a directory; `train` without its events.

    Raises:
        UserError: what the user has to change.
    """
    for _ in train(recipe, path, should_stop):
        pass
    return Run.open(Path(path))


def train(recipe: Recipe, path: Path | str, should_stop: StopCondition = never) -> Iterator[Event]:
    """Train a new network, as a run in a directory; iterating makes it continue.

    Raises:
        UserError: what the user has to change; before anything is written, where possible.
    """
    world, run = current_world(), Run(Path(path))
    with world.same_outcome():
        if world.is_writer:
            check_available(run.path)
    session, state = build_training(recipe)
    check_same_data(session)
    with ExitStack() as lock:
        with world.same_outcome():
            samples = session.augmentation_samples(state)
            if world.is_writer:
                lock.enter_context(Run.create(run.path).locked(_patience(world)))
                check_available(run.path)
                _write_new(run, session, state, samples)
        share_state(state, world)
        yield from _recovering(run, session, state, should_stop)


def _write_new(run: Run, session: TrainingSession, state: TrainingState, samples: Samples) -> None:
    """Write the files of a new run; the recipe last."""
    recipe = session.recipe
    environment = collect_environment(session.device, recipe.seed, session.world.size)
    run.write_json("environment.json", environment)
    run.write_json("data.json", session.fingerprint)
    if session.init is not None:
        run.write_json("init.json", session.init)
    save_file_list(run, session.splits)
    save_samples(run, samples)
    save_filters(run, 0, state.network)
    run.save_checkpoint(state.to_checkpoint(), best=False, keep=recipe.keep_checkpoints)
    run.write_recipe(recipe)


def resume(
    path: Path | str, should_stop: StopCondition = never, epochs: int | None = None
) -> Iterator[Event]:
    """Continue a run from its last undamaged checkpoint; iterating makes it continue.

    On a CPU the outcome is, bit for bit, that of a training that was never stopped.

    Args:
        path: the run.
        should_stop: when to stop.
        epochs: extend the training to this number of epochs, also a finished one. The recipe of the
            run keeps from which step on: a training with that recipe has the same outcome.

    Raises:
        UserError: there is no run, its files are damaged, or another process is training in it; it
            cannot be extended to this number of epochs.
    """
    world, run = current_world(), Run(Path(path))
    with ExitStack() as lock:
        with world.same_outcome():
            if world.is_writer:
                lock.enter_context(Run.open(run.path).locked(_patience(world)))
        recipe = shared_recipe(world, lambda: run.recipe)
        with world.same_outcome():
            session = build_session(recipe, world)
            state = build_state(session)
        check_same_data(session)
        with world.same_outcome():
            if world.is_writer:
                if run.data != DataFingerprint() and not run.data.same_images(session.fingerprint):
                    raise UserError(
                        f"{path} was started with other images than those that are there now"
                    )
                restore_latest(state, run.checkpoints)
        share_state(state, world)
        if epochs is not None:
            before = session
            session = extend(before, state, epochs)
            if world.is_writer:
                run.reopen(session.recipe)
            yield extended_event(before, session, state)
        if world.is_writer:
            _record_environment(run, session, state)
            run.rewrite_log(state.history)
        yield from _recovering(run, session, state, should_stop)


def shared_recipe(world: World, read: Callable[[], Recipe]) -> Recipe:
    """The recipe that the writer reads, on every rank.

    Raises:
        UserError: by `read`.
    """
    if world.size == 1:
        return read()
    return parse_recipe(json.loads(world.from_writer(lambda: read().model_dump_json())))


def check_same_data(session: TrainingSession) -> None:
    """Check that every rank has the images that the writer has.

    Raises:
        UserError: a rank has others.
    """
    world = session.world
    if world.size == 1:
        return
    expected = world.from_writer(session.fingerprint.model_dump_json)
    with world.same_outcome():
        if session.fingerprint.model_dump_json() != expected:
            raise UserError(f"rank {world.rank} has other training or test images than rank 0")


def _patience(world: World) -> float:
    """Seconds to wait for the lock: the ranks of a machine that was lost may still hold it."""
    return 0.0 if world.size == 1 else LOCK_PATIENCE


def _record_environment(run: Run, session: TrainingSession, state: TrainingState) -> None:
    """Add this process to the run's environments, with a warning, where it can change bits."""
    now = collect_environment(session.device, session.recipe.seed, session.world.size)
    before = run.environment.until(state.step)
    changes = environment_changes(before.latest, now)
    if changes and run.environment != RunEnvironment():
        message = f"{run.path} continues, but not bit for bit: {'; '.join(changes)}"
        warnings.warn(message, stacklevel=3)
        before = before.resumed_by(now, state.step)
    run.write_json("environment.json", before)


def _events(
    run: Run, session: TrainingSession, state: TrainingState, should_stop: StopCondition
) -> Iterator[Event]:
    """The training, from where its state stands to its end, or to a stop."""
    recipe, steps_per_epoch = session.recipe, session.sampler.steps_per_epoch
    world, cache = session.world, EvaluationCache()
    reset_peak_memory(session.device)

    def check_stop() -> None:
        # The epoch counts as finished only once it is evaluated.
        progress = session.progress(state)
        if world.any(should_stop(replace(progress, step=progress.step - 1))):
            raise EvaluationInterrupted

    images = len(session.splits.train)
    device = str(session.device) if world.size == 1 else f"{world.size} x {session.device.type}"
    notes = session.splits.notes
    yield Started(run, recipe, device, images, steps_per_epoch, state.step, notes)
    timer = Stopwatch(session.device)
    while True:
        epoch, step_in_epoch = divmod(state.step, steps_per_epoch)
        if step_in_epoch == 0 and epoch > len(state.history):
            state.seconds += timer.stop()
            record = finish_epoch(run, session, state, cache, check_stop)
            best = epoch == best_epoch(session, state)
            saved = _save_epoch(run, session, state, best) if world.is_writer else None
            yield EpochFinished(record, best)
            if saved is not None:
                yield CheckpointSaved(saved, state.step, best)
            timer.start()
        if is_finished(session, state):
            yield Finished(finish_training(run, session, state, cache, check_stop))
            return
        if world.any(should_stop(session.progress(state))):
            state.seconds += timer.stop()
            if world.is_writer:
                run.save_interrupted(state.to_checkpoint())
            yield Stopped(state.step)
            return
        step(session, state)
        if state.step % FINITE_CHECK_EVERY == 0:
            check_finite(state, epoch + 1)
        yield StepFinished(state.step, state.metrics)


def _save_epoch(
    run: Run, session: TrainingSession, state: TrainingState, best: bool
) -> Path | None:
    """Log a finished epoch, and save a checkpoint where one is due; returns its path."""
    recipe, record = session.recipe, state.history[-1]
    run.append_record(record)
    save_filters(run, record.epoch, state.network)
    if best or is_finished(session, state) or record.epoch % recipe.save_every == 0:
        return run.save_checkpoint(state.to_checkpoint(), best, recipe.keep_checkpoints)
    return None


def _recovering(
    run: Run, session: TrainingSession, state: TrainingState, should_stop: StopCondition
) -> Iterator[Event]:
    """The training, continued after a roll back; saved after a stop during an evaluation."""
    while True:
        try:
            yield from _events(run, session, state, should_stop)
            return
        except Diverged as cause:
            roll_back(run, session, state, cause)
            yield RolledBack(str(cause), state.step, session.progress(state).lr_scale)
        except EvaluationInterrupted:
            saved = state.step
            if session.world.is_writer:
                if state.step > len(state.history) * session.sampler.steps_per_epoch:
                    run.save_interrupted(state.to_checkpoint())
                saved = checkpoint_step(run.checkpoints[-1])
            yield Stopped(saved)
            return
        except RuntimeError as error:
            if advice := error_advice(error):
                raise UserError(f"step {state.step + 1}: {advice}") from error
            raise


def step(session: TrainingSession, state: TrainingState) -> Tensor:
    """One optimiser step: augment, forward, backward, update. Returns the loss, a scalar.

    Several ranks share the batch; gradients and figures are those of the whole batch on each.
    """
    recipe, progress, world = session.recipe, session.progress(state), session.world
    set_progress(state.network, progress)
    recipe.optimizer.set_progress(state.optimizer, progress)
    indices = session.indices(state.step)
    shares = session.shares(len(indices))
    images, targets = session.make_batch(session.batch_random(indices, state), shares)

    def gradients() -> tuple[Tensor, Tensor]:
        torch.manual_seed(derive_seed(recipe.seed, "network", state.step))
        losses, logits = [], []
        sizes = [len(share) for share in shares]
        chunks = zip(shares, torch.split(images, sizes), torch.split(targets, sizes), strict=True)
        for share, chunk, chunk_targets in chunks:
            if world.size > 1:
                set_share(state.network, share)
            chunk_logits = session.forward_amp(state, chunk)
            if len(chunk):
                loss = recipe.loss(chunk_logits, chunk_targets, session.class_weights)
                loss = loss * (len(chunk) / len(indices))
            else:
                loss = chunk_logits.sum()  # 0: a rank without images takes part in all sums.
            state.reducer.backward(state.scaler.scale(loss), last=share is shares[-1])
            losses.append(loss.detach())
            logits.append(chunk_logits.detach())
        return torch.stack(losses).sum(), torch.cat(logits)

    loss, logits = (recipe.sam or plain_gradients)(state.network, progress, gradients)
    state.scaler.unscale_(state.optimizer)
    norms = gradient_norms(state.layer_groups)
    if recipe.max_grad_norm is not None:
        weights = state.network.parameters()
        clip_grads_with_norm_(weights, recipe.max_grad_norm, torch.linalg.vector_norm(norms))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if recipe.weight_average is not None:
        recipe.weight_average.update(state.average, state.network, progress)
    labels = session.splits.train.labels[indices]
    if world.size > 1:
        labels = labels[session.positions(shares)]
    correct = (logits.argmax(1) == labels).sum()
    loss, correct = state.reducer.reduce_figures(loss, correct, len(labels) / len(indices))
    state.add_step(loss, correct, len(indices), norms)
    state.step += 1
    return loss
