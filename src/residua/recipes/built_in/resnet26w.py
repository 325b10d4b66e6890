"""ResNet-26 with a wide projection, 3.9 M parameters: 62.70 % published.

    residua train resnet26w

Cost: 70 epochs of 50,000 images at 0.23 G multiply-adds an image.
Expected: 62.70 % best (epoch 69), 61.97 % at epoch 70.

Published: stem with 32 channels and channel dropout 0.02; basic blocks 2-4-4-2 at 32-256 without an
activation after the addition; 3 x 3 projections; 4 x 4 max-pooling; SGD 0.01, momentum 0.9, weight
decay 1e-5, batch size 256; crop and flip; its own normalization.

Departure: the author never switched to evaluation mode, so the published accuracies come from
batch statistics with active dropout. Here the network is evaluated in evaluation mode.
"""

from residua.augment import Crop, Flip
from residua.data import ChannelStats
from residua.models import Architecture, BasicBlock, ConvStem, MaxPool, Projection
from residua.optim import SGD
from residua.recipes.recipe import Recipe

recipe = Recipe(
    name="resnet26w",
    normalization=ChannelStats(mean=(0.507, 0.487, 0.441), std=(0.267, 0.256, 0.276)),
    augmentation=(Crop(padding=4), Flip()),
    architecture=Architecture(
        stem=ConvStem(width=32, dropout=0.02),
        depths=(2, 4, 4, 2),
        widths=(32, 64, 128, 256),
        block=BasicBlock(final_activation=False),
        shortcut=Projection(kernel=3),
        pooling=MaxPool(kernel_size=4),
    ),
    optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=1e-5),
    epochs=70,
    batch_size=256,
    precision="float32",
)
