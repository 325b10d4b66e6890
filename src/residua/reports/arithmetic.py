"""How much a training computed: the same on any machine, where seconds are not."""

from collections import Counter

import torch

from residua.models import training_flops
from residua.recipes.recipe import Recipe
from residua.reports.history import History
from residua.schedules import TrainingProgress, value_at


def arithmetic(recipe: Recipe, history: History, classes: int, size: int) -> int:
    """Floating-point operations of a training so far: its network, forward and backward.

    Those of convolutions and matrix products. What an optimiser computes with its gradients, and
    evaluations, come on top.

    Args:
        recipe: what was trained.
        history: its epochs.
        classes: of the data set.
        size: the side of its images in pixels, for recipes that do not resize them.
    """
    images: Counter[int] = Counter()
    for record in history.records:
        per_epoch = record["step"] // record["epoch"]
        clock = TrainingProgress(record["step"] - 1, recipe.epochs * per_epoch, per_epoch)
        seen = round(record["seconds"] * record["images_per_second"])
        side = size if recipe.image_size is None else round(value_at(recipe.image_size, clock))
        images[side] += seen
    with torch.device("meta"):
        network = recipe.architecture.build(classes)
    passes = 1 if recipe.sam is None else 2
    return passes * sum(training_flops(network, side) * seen for side, seen in images.items())
