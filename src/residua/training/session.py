"""What stays the same while a network trains: recipe, data, batches, the function that runs it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from residua.augment import BatchRandom, Normalization, Pipeline
from residua.data import BatchSampler, Split, Splits, channel_stats
from residua.devices import keep_freed_memory, select_device, set_deterministic
from residua.inference.evaluation import (
    AMP_DTYPES,
    EVAL_BATCH_SIZE,
    Evaluation,
    eval_mode,
    evaluate,
)
from residua.models import ResidualNetwork, architecture_errors, init_whitening
from residua.optim import swapped_weights
from residua.recipes.recipe import Recipe
from residua.schedules import TrainingProgress, bounds, value_at
from residua.seeding import derive_seed
from residua.training.compile import compiled
from residua.training.state import TALLIED, TrainingState

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class TrainingSession:
    """What stays the same while a network trains."""

    recipe: Recipe
    splits: Splits
    """On the device."""
    sampler: BatchSampler
    pipeline: Pipeline
    forward: Callable[[Tensor], Tensor]
    """The network, compiled if the recipe says so."""
    device: torch.device

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.recipe.epochs * self.sampler.steps_per_epoch

    @property
    def selection_split(self) -> Split:
        """The split that the best epoch is chosen by."""
        return self.splits.holdout or self.splits.test

    @property
    def selection_split_name(self) -> str:
        """`holdout` where there is one, else `test`."""
        return "holdout" if self.splits.holdout else "test"

    @property
    def data_fingerprint(self) -> dict[str, Any]:
        """What was trained on: classes, normalisation, and each split's size and SHA-256."""
        splits = {
            "train": self.splits.train,
            "holdout": self.splits.holdout,
            "test": self.splits.test,
        }
        return {
            "classes": list(self.splits.train.classes),
            "normalization": {
                name: list(values) for name, values in self.pipeline.normalization._asdict().items()
            },
            "splits": {
                name: {"images": len(split), "sha256": split.checksum}
                for name, split in splits.items()
                if split is not None
            },
        }

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and filters."""
        return MEMORY_FORMATS[self.recipe.memory_format]

    def accuracies(self, state: TrainingState) -> dict[int, float]:
        """The monitored accuracy of each evaluated epoch."""
        key = f"{self.selection_split_name}_accuracy"
        return {record["epoch"]: record[key] for record in state.history if key in record}

    def progress(self, state: TrainingState) -> TrainingProgress:
        """Where the training stands."""
        accuracies = list(self.accuracies(state).values())
        return TrainingProgress(
            state.step,
            self.total_steps,
            self.sampler.steps_per_epoch,
            accuracies,
            self.recipe.on_divergence.factor**state.rollbacks,
        )

    def image_size_at(self, progress: TrainingProgress) -> int | None:
        """The side in pixels that images are resized to at this moment; None leaves them."""
        size = self.recipe.image_size
        return None if size is None else round(value_at(size, progress))

    def indices(self, step: int) -> Tensor:
        """The images of a step, on the device: places in the training set, int64 (n,)."""
        batch = self.sampler[step]
        if self.device.type == "cuda":
            # Only from pinned memory does a copy not wait for all that the device has yet to do.
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)

    def batch_random(self, indices: Tensor, state: TrainingState, *place: int | str) -> BatchRandom:
        """The randomness that augmentation gets at this step, or at another place."""
        generator = torch.Generator(self.device)
        generator.manual_seed(derive_seed(self.recipe.seed, *(place or ("augment", state.step))))
        height, width = self.splits.train.images.shape[-2:]
        return BatchRandom(generator, indices, height, width, self.progress(state))

    def make_batch(self, draw: BatchRandom) -> tuple[Tensor, Tensor]:
        """The training images of a draw, (N, 3, H, W), as the network takes them; their targets."""
        train, chosen = self.splits.train, draw.indices
        images, targets = self.pipeline(
            train.images[chosen], train.labels[chosen], draw, self.image_size_at(draw.progress)
        )
        return images.contiguous(memory_format=self.memory_format), targets

    def forward_amp(self, images: Tensor) -> Tensor:
        """Logits (N, classes) float32 of images (N, 3, H, W), in the recipe's precision."""
        mixed = AMP_DTYPES.get(self.recipe.precision)
        with torch.autocast(self.device.type, mixed, enabled=mixed is not None):
            return self.forward(images)

    def evaluate(self, state: TrainingState, split: Split) -> Evaluation:
        """The network (its averaged weights, where the recipe averages) on a split."""
        recipe = self.recipe
        with swapped_weights(state.network, state.average):
            if state.average and recipe.weight_average is not None:
                progress = self.progress(state)
                recipe.weight_average.update_bn(
                    state.network, self.forward_amp, self._seen(state), progress
                )
            with eval_mode(state.network):
                return evaluate(
                    self.forward,
                    split,
                    self.pipeline.normalization,
                    recipe.precision,
                    recipe.tta,
                    self.memory_format,
                )

    def _seen(self, state: TrainingState) -> Iterator[Tensor]:
        """An epoch's whole batches, (N, 3, H, W) each: the same ones at each call."""
        for step in range(self.sampler.length // self.sampler.batch_size):
            indices = self.indices(step)
            yield self.make_batch(self.batch_random(indices, state, "statistics", step))[0]


def build_session(recipe: Recipe) -> tuple[TrainingSession, TrainingState]:
    """Load the data and build everything that a training needs, at step 0.

    Raises:
        UserError: missing data, an unknown device, a batch larger than the training set.
    """
    device = select_device(recipe.device)
    set_deterministic(recipe.deterministic)
    if device.type == "cpu":
        keep_freed_memory()
    splits = recipe.data.load(recipe.seed)
    batches = BatchSampler(len(splits.train), recipe.batch_size, recipe.seed, recipe.drop_last)
    measured = recipe.normalization or channel_stats(splits.train)
    classes = len(splits.train.classes)
    network = _built(recipe, classes, splits.train.images.shape[-1])
    normalization = Normalization(measured.mean, measured.std)
    init_whitening(network, normalization(splits.train.images[:5000]))
    network.to(memory_format=MEMORY_FORMATS[recipe.memory_format])  # type: ignore[call-overload]
    network.to(device)
    session = TrainingSession(
        recipe,
        Splits(
            _on(splits.train, device),
            splits.holdout and _on(splits.holdout, device),
            _on(splits.test, device),
        ),
        batches,
        Pipeline(recipe.augmentation, normalization, classes),
        compiled(network, recipe.compile, {EVAL_BATCH_SIZE, *_parts(recipe)}),
        device,
    )
    state = TrainingState(
        network,
        recipe.optimizer.build(network),
        recipe.weight_average.build(network) if recipe.weight_average else {},
        torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16"),
        torch.zeros(TALLIED + len(network.layer_groups()), device=device),
    )
    return session, state


def _built(recipe: Recipe, classes: int, side: int) -> ResidualNetwork:
    """The network, seen to work on images of every size that it will be shown."""
    sizes = {side, *map(round, bounds(recipe.image_size) if recipe.image_size else ())}
    with architecture_errors():
        network = recipe.architecture.build(classes, recipe.seed)
        with eval_mode(network):
            for size in sizes:
                network(torch.zeros(1, 3, size, size))
    return network


def _parts(recipe: Recipe) -> set[int]:
    """How many images of a whole batch go through the network at once: the sizes of its parts."""
    return {
        len(part) for part in torch.empty(recipe.batch_size).chunk(recipe.gradient_accumulation)
    }


def _on(split: Split, device: torch.device) -> Split:
    return replace(split, images=split.images.to(device), labels=split.labels.to(device))
