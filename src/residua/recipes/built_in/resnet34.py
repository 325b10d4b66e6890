"""ResNet-34 for small images, 21.3 M parameters: target 75 % published.

    residua train resnet34

Cost: 250 epochs of 50,000 images at 1.16 G multiply-adds an image.
Expected: the document's target, 75 %; it gives no result.

Published: basic blocks 3-4-6-3 at 64-512, 3 x 3 stem, no max-pooling, dropout 0.2; SGD with
Nesterov 0.1 / 0.9 / 5e-4; label smoothing 0.1; batch size 128; OneCycle with 10 % warm-up, from
max/10 to max/100; crop, flip, random erasing p 0.5; gradient clipping at 1.0; 250 epochs; the
checkpoint with the best validation accuracy is kept.

Decided here: the momentum cycles between 0.95 and 0.85 against the learning rate, the default of
OneCycleLR; erasing fills with the mean; initialisation by fan-out. Clearing the GPU's cache, pinned
memory and loader workers have no counterpart: the data stays on the device.
"""

from residua.augment import Crop, Flip, RandomErasing
from residua.models import Architecture
from residua.optim import SGD, CrossEntropy
from residua.recipes.recipe import Recipe
from residua.schedules import OneCycle

recipe = Recipe(
    name="resnet34",
    augmentation=(Crop(padding=4), Flip(), RandomErasing(p=0.5)),
    architecture=Architecture(depths=(3, 4, 6, 3), dropout=0.2),
    loss=CrossEntropy(label_smoothing=0.1),
    optimizer=SGD(
        lr=OneCycle(start=0.01, peak=0.1, end=0.001, pct_start=0.1),
        momentum=OneCycle(start=0.95, peak=0.85, end=0.95, pct_start=0.1),
        nesterov=True,
        weight_decay=5e-4,
    ),
    max_grad_norm=1.0,
    epochs=250,
    batch_size=128,
    target_accuracy=75,
    precision="float32",
)
