"""A small residual network on the procedural data set, in one or two minutes on two CPU cores.

    make quickstart
    residua train quickstart

No download is needed: shapes100 is generated at the start. The recipe demonstrates every part of
residua; its accuracy says nothing about CIFAR-100.
"""

from residua.augment import Crop, Flip
from residua.data import Shapes100
from residua.models import Architecture, ConvStem
from residua.optim import SGD
from residua.recipes.recipe import Recipe
from residua.schedules import OneCycle

recipe = Recipe(
    name="quickstart",
    data=Shapes100(),
    augmentation=(Crop(padding=3, mode="reflect"), Flip()),
    architecture=Architecture(
        stem=ConvStem(width=16), depths=(1, 1, 1), widths=(16, 32, 64), strides=(1, 2, 2)
    ),
    optimizer=SGD(lr=OneCycle(start=0.02, peak=0.2, end=0.0002), momentum=0.9, nesterov=True),
    epochs=10,
    batch_size=128,
    precision="float32",
)
