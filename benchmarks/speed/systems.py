"""The networks that are benchmarked, under a training that every entry can do."""

from residua.augment import Affine, Crop, Flip
from residua.data import Cifar100, Data, Shapes100
from residua.data.archive import CIFAR100, data_root, find
from residua.models import Architecture, ConvStem
from residua.optim import SGD
from residua.recipes.loading import resolve
from residua.recipes.recipe import Recipe

SYSTEMS = ("resnet20", "resnet26w", "resnet44v2", "resnet44", "wrn28_10")
AUGMENTATION = (Crop(padding=4), Flip(), Affine(degrees=15))
"""As in the plain loop, but with a bilinear rotation."""
RESNET20 = Recipe(
    name="resnet20",
    augmentation=AUGMENTATION,
    architecture=Architecture(stem=ConvStem(width=16), depths=(3, 3, 3), widths=(16, 32, 64)),
)
"""The smallest CIFAR network of arXiv:1512.03385, with projection shortcuts."""
NEVER = 10**6
"""Epochs between two evaluations and checkpoints, so that no step includes one."""


def system_recipe(name: str) -> Recipe:
    """resnet20, or the recipe with this name or in this file.

    Raises:
        UserError: there is none.
    """
    return RESNET20 if name == RESNET20.name else resolve(name)


def available_data() -> Data:
    """CIFAR-100 if it was downloaded, else shapes100; the time of a step is the same."""
    return Cifar100() if find(CIFAR100, data_root()) else Shapes100()


def common_training(
    recipe: Recipe, data: Data, batch_size: int, device: str, precision: str
) -> Recipe:
    """The recipe's network in the training that every entry does.

    Args:
        recipe: only its name and its architecture are used.
        data: the data set.
        batch_size: images per step; incomplete batches are dropped.
        device: the device, as in a recipe.
        precision: the precision, as in a recipe.
    """
    return Recipe(
        name=recipe.name,
        data=data,
        augmentation=AUGMENTATION,
        architecture=recipe.architecture,
        optimizer=SGD(lr=0.01),
        epochs=NEVER,
        evaluate_every=NEVER,
        save_every=NEVER,
        batch_size=batch_size,
        drop_last=True,
        device=device,
        precision=precision,
    )
