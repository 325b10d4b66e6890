"""ResNet44V2, pre-activation, 5.9 M parameters: 74.86 % published.

    residua train resnet44v2

Cost: 100 epochs of 50,000 images at 0.44 G multiply-adds an image.
Expected: run 2 of the document: 74.86 % best (epoch 99), 74.70 % last. Run 1 is resnet44v2_run1.

Published: stem with 32 channels; pre-activation blocks 7-7-7-3 at 32-256; dropout 0.1 before the
linear layer; SGD 0.1, momentum 0.9, weight decay 5e-4, cosine over 100 epochs; batch size 128;
plain cross-entropy; pad-4 crop and flip; its own normalization.

Decided here: the learning rate changes once an epoch; the shortcut always takes the activated
input; torch's own initialisation, which matches the published first epoch, unlike fan-out
(records/2026-11-21-resnet44v2). The document says 2.7 M parameters and 44 layers; the network that
it describes has 5,941,316 and 50.
"""

from residua.augment import Crop, Flip
from residua.data import ChannelStats
from residua.models import Architecture, ConvStem, PreActBlock
from residua.optim import SGD
from residua.recipes.recipe import Recipe
from residua.schedules import Cosine

recipe = Recipe(
    name="resnet44v2",
    normalization=ChannelStats(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
    augmentation=(Crop(padding=4), Flip()),
    architecture=Architecture(
        stem=ConvStem(width=32),
        depths=(7, 7, 7, 3),
        widths=(32, 64, 128, 256),
        block=PreActBlock(shortcut_input="activated"),
        dropout=0.1,
        initialization="torch",
    ),
    optimizer=SGD(lr=Cosine(start=0.1, interval="epoch"), momentum=0.9, weight_decay=5e-4),
    epochs=100,
    batch_size=128,
    precision="float32",
)
