"""What stays the same while a network trains: recipe, data, batches, the function that runs it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from residua.augment import Draw, Normalisation, Pipeline
from residua.compiling import compiled
from residua.data import Batches, Split, Splits, statistics
from residua.device import choose, keep_freed_memory, reproduce
from residua.evaluation import BATCH, PRECISIONS, Evaluation, evaluate, evaluating
from residua.models import ResidualNetwork, fit, possible
from residua.optim import holding
from residua.recipe import Recipe
from residua.schedule import Clock, at, extremes
from residua.seed import derive
from residua.state import TALLIED, State

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class Setting:
    """What stays the same while a network trains."""

    recipe: Recipe
    splits: Splits
    """On the device."""
    batches: Batches
    pipeline: Pipeline
    forward: Callable[[Tensor], Tensor]
    """The network, compiled if the recipe says so."""
    device: torch.device

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.recipe.epochs * self.batches.steps_per_epoch

    @property
    def monitored(self) -> Split:
        """The split that the best epoch is chosen by."""
        return self.splits.holdout or self.splits.test

    @property
    def monitored_name(self) -> str:
        """`holdout` where there is one, else `test`."""
        return "holdout" if self.splits.holdout else "test"

    @property
    def provenance(self) -> dict[str, Any]:
        """What was trained on: classes, normalisation, and each split's size and SHA-256."""
        splits = {
            "train": self.splits.train,
            "holdout": self.splits.holdout,
            "test": self.splits.test,
        }
        return {
            "classes": list(self.splits.train.classes),
            "normalisation": {
                name: list(values) for name, values in self.pipeline.normalisation._asdict().items()
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

    def accuracies(self, state: State) -> dict[int, float]:
        """The monitored accuracy of each evaluated epoch."""
        key = f"{self.monitored_name}_accuracy"
        return {record["epoch"]: record[key] for record in state.history if key in record}

    def clock(self, state: State) -> Clock:
        """Where the training stands."""
        accuracies = list(self.accuracies(state).values())
        return Clock(
            state.step,
            self.steps,
            self.batches.steps_per_epoch,
            accuracies,
            self.recipe.on_divergence.factor**state.rollbacks,
        )

    def side(self, clock: Clock) -> int | None:
        """The side in pixels that images are resized to at this moment; None leaves them."""
        size = self.recipe.image_size
        return None if size is None else round(at(size, clock))

    def indices(self, step: int) -> Tensor:
        """The images of a step, on the device: places in the training set, int64 (n,)."""
        batch = self.batches[step]
        if self.device.type == "cuda":
            # Only from pinned memory does a copy not wait for all that the device has yet to do.
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)

    def draw(self, indices: Tensor, state: State, *place: int | str) -> Draw:
        """The randomness that augmentation gets at this step, or at another place."""
        generator = torch.Generator(self.device)
        generator.manual_seed(derive(self.recipe.seed, *(place or ("augment", state.step))))
        height, width = self.splits.train.images.shape[-2:]
        return Draw(generator, indices, height, width, self.clock(state))

    def augmented(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """The training images of a draw, (N, 3, H, W), as the network takes them; their targets."""
        train, chosen = self.splits.train, draw.indices
        images, targets = self.pipeline(
            train.images[chosen], train.labels[chosen], draw, self.side(draw.clock)
        )
        return images.contiguous(memory_format=self.memory_format), targets

    def run(self, images: Tensor) -> Tensor:
        """Logits (N, classes) float32 of images (N, 3, H, W), in the recipe's precision."""
        mixed = PRECISIONS.get(self.recipe.precision)
        with torch.autocast(self.device.type, mixed, enabled=mixed is not None):
            return self.forward(images)

    def evaluate(self, state: State, split: Split) -> Evaluation:
        """The network (its averaged weights, where the recipe averages) on a split."""
        recipe = self.recipe
        with holding(state.network, state.average):
            if state.average and recipe.average is not None:
                clock = self.clock(state)
                recipe.average.settle(state.network, self.run, self._seen(state), clock)
            with evaluating(state.network):
                return evaluate(
                    self.forward,
                    split,
                    self.pipeline.normalisation,
                    recipe.precision,
                    recipe.views,
                    self.memory_format,
                )

    def _seen(self, state: State) -> Iterator[Tensor]:
        """An epoch's whole batches, (N, 3, H, W) each: the same ones at each call."""
        for step in range(self.batches.length // self.batches.batch_size):
            indices = self.indices(step)
            yield self.augmented(self.draw(indices, state, "statistics", step))[0]


def prepare(recipe: Recipe) -> tuple[Setting, State]:
    """Load the data and build everything that a training needs, at step 0.

    Raises:
        UserError: missing data, an unknown device, a batch larger than the training set.
    """
    device = choose(recipe.device)
    reproduce(recipe.deterministic)
    if device.type == "cpu":
        keep_freed_memory()
    splits = recipe.data.load(recipe.seed)
    batches = Batches(len(splits.train), recipe.batch_size, recipe.seed, recipe.last_batch)
    measured = recipe.normalise or statistics(splits.train)
    classes = len(splits.train.classes)
    network = _built(recipe, classes, splits.train.images.shape[-1])
    normalisation = Normalisation(measured.mean, measured.std)
    fit(network, normalisation(splits.train.images[:5000]))
    network.to(memory_format=MEMORY_FORMATS[recipe.memory_format])  # type: ignore[call-overload]
    network.to(device)
    setting = Setting(
        recipe,
        Splits(
            _on(splits.train, device),
            splits.holdout and _on(splits.holdout, device),
            _on(splits.test, device),
        ),
        batches,
        Pipeline(recipe.augmentation, normalisation, classes),
        compiled(network, recipe.compile, {BATCH, *_parts(recipe)}),
        device,
    )
    state = State(
        network,
        recipe.optimizer.build(network),
        recipe.average.build(network) if recipe.average else {},
        torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16"),
        torch.zeros(TALLIED + len(network.groups()), device=device),
    )
    return setting, state


def _built(recipe: Recipe, classes: int, side: int) -> ResidualNetwork:
    """The network, seen to work on images of every size that it will be shown."""
    sizes = {side, *map(round, extremes(recipe.image_size) if recipe.image_size else ())}
    with possible():
        network = recipe.architecture.build(classes, recipe.seed)
        with evaluating(network):
            for size in sizes:
                network(torch.zeros(1, 3, size, size))
    return network


def _parts(recipe: Recipe) -> set[int]:
    """How many images of a whole batch go through the network at once: the sizes of its parts."""
    return {len(part) for part in torch.empty(recipe.batch_size).chunk(recipe.accumulate)}


def _on(split: Split, device: torch.device) -> Split:
    return replace(split, images=split.images.to(device), labels=split.labels.to(device))
