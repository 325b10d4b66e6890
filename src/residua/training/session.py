"""What stays the same while a network trains: recipe, data, sampler, augmentation, device."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from pydantic import ValidationError
from torch import Tensor

from residua.augment import BatchRandom, Pipeline
from residua.augment.normalize import Normalize
from residua.data import BatchSampler, Split, Splits, channel_stats
from residua.devices import (
    fastest_precision,
    keep_freed_memory,
    select_device,
    set_deterministic,
    set_tf32,
)
from residua.distributed import Share, World, current_world, rank_device
from residua.errors import UserError
from residua.inference.evaluation import (
    AMP_DTYPES,
    EVAL_BATCH_SIZE,
    MEMORY_FORMATS,
    Evaluation,
    StopCheck,
    eval_mode,
    evaluate_split,
    never_stop,
)
from residua.models import (
    ResidualNetwork,
    architecture_errors,
    init_whitening,
)
from residua.optim import swapped_weights
from residua.recipes.recipe import Recipe
from residua.runs.artifacts import MAX_SAMPLES, Samples
from residua.runs.records import DataFingerprint, InitRecord, SelectionSplit, SplitFingerprint
from residua.schedules import TrainingProgress, bounds, value_at
from residua.seeding import derive_seed
from residua.training.compile import compile_network
from residua.training.initialization import TrainedSource, read_source
from residua.training.metrics import EpochMetrics
from residua.training.reducer import Reducer
from residua.training.state import TrainingState


@dataclass(frozen=True)
class TrainingSession:
    """What stays the same while a network trains; `TrainingState` holds what changes."""

    recipe: Recipe
    splits: Splits
    """On the device."""
    sampler: BatchSampler
    pipeline: Pipeline
    device: torch.device
    world: World = field(default_factory=World)
    init: InitRecord | None = None
    """The trained network that a new training starts from."""
    class_weights: Tensor | None = None
    """(K,) float32, on the device: of each class in the loss; None for equal weights."""

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.recipe.epochs * self.sampler.steps_per_epoch

    def planned_steps(self, step: int) -> int:
        """Steps of the whole training as it was planned at a step, before any later extension."""
        planned = [each.epochs for each in self.recipe.extensions if step < each.step]
        return (planned[0] if planned else self.recipe.epochs) * self.sampler.steps_per_epoch

    @property
    def selection_split_name(self) -> SelectionSplit:
        """The split that selects the best epoch: `holdout` where there is one, else `test`."""
        return "holdout" if self.splits.holdout else "test"

    @property
    def selection_split(self) -> Split:
        """The images that the best epoch is selected on."""
        return self.splits.holdout or self.splits.test

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and filters."""
        return MEMORY_FORMATS[self.recipe.memory_format]

    @property
    def fingerprint(self) -> DataFingerprint:
        """What is trained on: classes, normalization, and each split's size and SHA-256."""
        splits = {
            "train": self.splits.train,
            "holdout": self.splits.holdout,
            "test": self.splits.test,
        }
        return DataFingerprint(
            classes=self.splits.train.classes,
            normalization=self.pipeline.normalize.stats,
            notes=self.splits.notes,
            skipped=self.splits.skipped,
            splits={
                name: SplitFingerprint(images=len(split), sha256=split.checksum)
                for name, split in splits.items()
                if split is not None
            },
        )

    def selection_accuracies(self, state: TrainingState) -> dict[int, float]:
        """The accuracy on the selection split, in percent, of each evaluated epoch."""
        accuracies = {record.epoch: record.evaluated_accuracy for record in state.history}
        return {epoch: value for epoch, value in accuracies.items() if value is not None}

    def progress(self, state: TrainingState, step: int | None = None) -> TrainingProgress:
        """Where the training stands, or stood at an earlier step of this epoch."""
        step = state.step if step is None else step
        return TrainingProgress(
            step,
            self.planned_steps(step),
            self.sampler.steps_per_epoch,
            self.selection_accuracies(state),
            self.recipe.on_divergence.factor**state.rollbacks,
        )

    def image_size_at(self, progress: TrainingProgress) -> int | None:
        """The side in pixels that images are resized to; None leaves them as they are."""
        size = self.recipe.image_size
        return None if size is None else round(value_at(size, progress))

    def indices(self, step: int) -> Tensor:
        """The indices (n,) int64, on the device, of the training images of a step, of all ranks."""
        batch = self.sampler[step]
        if self.device.type == "cuda":
            # Only from pinned memory does a copy not wait for all that the device has yet to do.
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)

    def batch_random(
        self, indices: Tensor, state: TrainingState, *purpose: int | str
    ) -> BatchRandom:
        """The random numbers for augmenting a batch at this step, or for another purpose.

        Every rank draws those of the whole batch.
        """
        seed = derive_seed(self.recipe.seed, *(purpose or ("augment", state.step)))
        generator = torch.Generator(self.device)
        generator.manual_seed(seed)
        height, width = self.splits.train.images.shape[-2:]
        return BatchRandom(
            generator, indices, height, width, self.progress(state), self.splits.train.channels
        )

    def shares(self, count: int) -> list[Share]:
        """The share of this rank in each chunk of a batch whose gradients are accumulated."""
        size = -(-count // self.recipe.gradient_accumulation)
        return [self.world.share(min(size, count - at), at) for at in range(0, count, size)]

    def positions(self, shares: Sequence[Share]) -> Tensor:
        """(n,) int64, on the device: the positions of these shares' images in their batch."""
        return torch.cat([share.positions(self.device) for share in shares])

    def make_batch(
        self, random: BatchRandom, shares: Sequence[Share] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Augmented training images and their targets, as the network and the loss take them.

        Args:
            random: the source of randomness of the whole batch.
            shares: the part of the batch that this rank needs; left out: all of it.

        Returns:
            images (N, C, H, W) float32, normalized; targets (N, classes) float32.
        """
        train, indices = self.splits.train, random.indices
        params = self.pipeline.sample(random, self.image_size_at(random.progress))
        selected: Tensor | slice = slice(None)
        if shares is not None and self.world.size > 1:
            positions = self.positions(shares)
            # Partners for mixing double the images that a share needs.
            if 0 < len(positions) << len(params.mixing) < len(indices):
                rows, params = params.part(positions)
                indices = indices[rows]
            else:
                selected = positions
        images, targets = self.pipeline.apply(train.images[indices], train.labels[indices], params)
        images, targets = images[selected], targets[selected]
        return images.contiguous(memory_format=self.memory_format), targets

    def forward_amp(self, state: TrainingState, images: Tensor) -> Tensor:
        """Logits (N, classes) float32 of images (N, C, H, W), in the recipe's precision."""
        dtype = AMP_DTYPES.get(self.recipe.precision)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            return state.forward(images)

    @contextmanager
    def evaluated_weights(self, state: TrainingState, check_stop: StopCheck) -> Iterator[None]:
        """The network as it is evaluated: averaged weights, batch norm re-estimated, eval mode.

        Raises:
            EvaluationInterrupted: a stop was requested between two batches.
        """
        average = self.recipe.weight_average
        with swapped_weights(state.network, state.average):
            if state.average and average is not None:
                batches = self._bn_batches(state, check_stop)
                average.update_bn(
                    state.network,
                    lambda images: self.forward_amp(state, images),
                    batches,
                    self.progress(state),
                    self.sampler.batch_size,
                )
                if average.reestimates_bn(self.progress(state)):
                    share = self.world.share(self.sampler.batch_size)
                    state.reducer.average_statistics(len(share) / share.count)
            with eval_mode(state.network):
                yield

    def evaluate(
        self, state: TrainingState, split: Split, check_stop: StopCheck = never_stop
    ) -> Evaluation:
        """Evaluate the network on a split; within `evaluated_weights`.

        Raises:
            EvaluationInterrupted: a stop was requested between two batches.
        """
        return evaluate_split(
            state.forward,
            split,
            self.pipeline.normalize,
            self.recipe.precision,
            self.recipe.tta,
            self.memory_format,
            check_stop,
            self.world,
        )

    def augmentation_samples(self, state: TrainingState) -> Samples:
        """The first training images, before and after the augmentation of the first step.

        Raises:
            UserError: the augmentation does not work with images of this size.
        """
        train = self.splits.train
        indices = torch.arange(min(MAX_SAMPLES, len(train)), device=self.device)
        images, _ = self.make_batch(self.batch_random(indices, state))
        augmented = self.pipeline.normalize.undo(images)
        return Samples(train.images[indices], augmented, train.labels[indices], train.classes)

    def _bn_batches(self, state: TrainingState, check_stop: StopCheck) -> Iterator[Tensor]:
        """An epoch's whole batches, (N, C, H, W) each: the same ones at each call."""
        for step in range(self.sampler.length // self.sampler.batch_size):
            check_stop()
            indices = self.indices(step)
            random = self.batch_random(indices, state, "statistics", step)
            yield self.make_batch(random, [self.world.share(len(indices))])[0]


def build_training(recipe: Recipe) -> tuple[TrainingSession, TrainingState]:
    """Load the data and build everything that a training needs, at step 0.

    The session's recipe is the one that a run keeps: with it, `build_session` and `build_state` are
    all that a resumed training needs, and the source of `init` is not read again.

    Raises:
        UserError: as `build_session`, `build_state` and `read_source`.
    """
    world = current_world()
    with world.same_outcome():
        source = None if recipe.init is None else read_source(recipe.init)
        session = build_session(recipe if source is None else source.prepare(recipe), world)
        state = build_state(session, source)
    if source is not None:
        session = replace(session, init=source.record(session.recipe, session.splits.train.classes))
    return session, state


def build_session(recipe: Recipe, world: World | None = None) -> TrainingSession:
    """Load the data, and build everything that stays the same while a network trains.

    Raises:
        UserError: missing data, an unknown device, images that do not fit the recipe.
    """
    world = world or World()
    device = rank_device(select_device(recipe.device), world)
    if recipe.precision == "auto":
        recipe = recipe.replace(precision=fastest_precision(device))
    set_deterministic(recipe.deterministic)
    set_tf32(recipe.precision == "tf32")
    if device.type == "cpu":
        keep_freed_memory()
    recipe = recipe.replace(data=recipe.data.resolved())
    splits = recipe.data.load(recipe.seed)
    train = splits.train
    recipe, notes = fit_batch_size(recipe, len(train))
    if recipe.batch_size < world.size:
        raise UserError(f"batch of {recipe.batch_size} is too small for {world.size} processes")
    balanced = train.labels if recipe.sampler == "balanced" else None
    sampler = BatchSampler(len(train), recipe.batch_size, recipe.seed, recipe.drop_last, balanced)
    stats = recipe.normalization or channel_stats(train)
    if len(stats.mean) != train.channels:
        raise UserError(
            f"normalization has {len(stats.mean)} channels, the images have {train.channels}: "
            "--normalization null computes it from the training images"
        )
    normalize = Normalize.from_stats(stats).to(device)
    weights = recipe.loss.weights(train.labels, train.classes)
    on_device = replace(
        splits,
        train=train.to(device),
        holdout=splits.holdout and splits.holdout.to(device),
        test=splits.test.to(device),
        notes=(*splits.notes, *notes),
    )
    pipeline = Pipeline(recipe.augmentation, normalize, len(train.classes))
    weights = None if weights is None else weights.to(device)
    return TrainingSession(
        recipe, on_device, sampler, pipeline, device, world, class_weights=weights
    )


def fit_batch_size(recipe: Recipe, images: int) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with a batch that fits a small training set, and a sentence that says so.

    A batch of more images than there are is replaced by the largest power of two that gives an
    epoch at least four steps.

    Raises:
        UserError: the recipe cannot be used with so small a batch.
    """
    if recipe.batch_size <= images:
        return recipe, ()
    size = 2 ** int(math.log2(max(2, images // 4)))
    size = min(size, images)
    try:
        parts = min(recipe.gradient_accumulation, size)
        changed = recipe.replace(batch_size=size, gradient_accumulation=parts)
    except ValidationError as error:
        raise UserError(
            f"{images} training images are too few for this recipe: "
            f"{error.errors()[0]['msg'].removeprefix('Value error, ')}"
        ) from None
    note = (
        f"batch_size {recipe.batch_size} is larger than the training set of {images} images: "
        f"{size} is used instead."
    )
    return changed, (note,)


def build_state(session: TrainingSession, source: TrainedSource | None = None) -> TrainingState:
    """Build the network, its optimiser and what else a training changes, at step 0.

    Args:
        session: of the training.
        source: whose weights the network gets; None: random ones.

    Raises:
        UserError: the network cannot be built, cannot take images of the training's sizes, or does
            not fit the source.
    """
    recipe, device = session.recipe, session.device
    network = build_network(session)
    if source is not None:
        source.copy_to(network, session.splits.train.classes)
    body_lr_scale = 1.0 if recipe.init is None else recipe.init.body_lr_scale
    sizes = {EVAL_BATCH_SIZE, *map(len, session.shares(recipe.batch_size))}
    return TrainingState(
        recipe,
        network,
        compile_network(network, recipe.compile, sizes),
        recipe.optimizer.build(network, body_lr_scale),
        recipe.weight_average.build(network) if recipe.weight_average else {},
        torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16"),
        EpochMetrics(list(network.layer_groups()), device),
        network.layer_groups(),
        Reducer(network, session.world),
    )


def build_network(session: TrainingSession) -> ResidualNetwork:
    """The initial network on the device, checked with images of every size it will see.

    Raises:
        UserError: it cannot be built, or cannot take images of one of these sizes.
    """
    recipe, train = session.recipe, session.splits.train
    growing = bounds(recipe.image_size) if recipe.image_size else ()
    with architecture_errors():
        network = recipe.architecture.build(len(train.classes), recipe.seed, train.channels)
        with eval_mode(network):
            for size in {train.images.shape[-1], *map(round, growing)}:
                network(torch.zeros(1, train.channels, size, size))
    init_whitening(network, train.images, session.pipeline.normalize)
    network.to(memory_format=session.memory_format)  # type: ignore[call-overload]
    return network.to(session.device)
