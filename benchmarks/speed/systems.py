"""What is raced: networks under one training that every contender can do, and their arithmetic."""

from residua.augment import Affine, Crop, Flip
from residua.data import Cifar100, Data, Shapes100
from residua.data.archive import CIFAR100, home
from residua.models import Architecture, ConvStem
from residua.optim import SGD
from residua.recipes.loading import resolve
from residua.recipes.recipe import Recipe

SYSTEMS = ("resnet20", "resnet26w", "resnet44v2", "resnet44", "wrn28_10")
COMMON = (Crop(padding=4), Flip(), Affine(degrees=15))
"""The plain loop's augmentation, with a bilinear rotation in place of one to the nearest pixel."""
RESNET20 = Recipe(
    name="resnet20",
    augmentation=COMMON,
    architecture=Architecture(stem=ConvStem(width=16), depths=(3, 3, 3), widths=(16, 32, 64)),
)
"""The smallest network for CIFAR of arXiv:1512.03385, with projections."""
NEVER = 10**6
"""Epochs after which benchmarks evaluate and save."""


def system(name: str) -> Recipe:
    """resnet20, or the recipe of this name or in this file.

    Raises:
        UserError: there is none.
    """
    return RESNET20 if name == RESNET20.name else resolve(name)


def images() -> Data:
    """CIFAR-100 where it is at hand, else shapes100: the time of a step does not depend on it."""
    there = (home(None) / CIFAR100.folder / CIFAR100.train[0].name).is_file()
    return Cifar100() if there else Shapes100()


def comparable(recipe: Recipe, data: Data, batch_size: int, device: str, precision: str) -> Recipe:
    """The recipe's network under the training that every contender does.

    Args:
        recipe: its architecture is kept, nothing else.
        data: the images.
        batch_size: images a step; short batches are left out.
        device: where, as a recipe has it.
        precision: of convolutions, as a recipe has it.
    """
    return Recipe.model_validate(
        {
            "name": recipe.name,
            "data": data,
            "augmentation": COMMON,
            "architecture": recipe.architecture,
            "optimizer": SGD(lr=0.01),
            "epochs": NEVER,
            "evaluate_every": NEVER,
            "save_every": NEVER,
            "batch_size": batch_size,
            "drop_last": "drop",
            "device": device,
            "precision": precision,
        }
    )
