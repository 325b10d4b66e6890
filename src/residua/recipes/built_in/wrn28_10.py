"""WRN-28-10, 36.5 M parameters: about 82 % published.

    residua train wrn28_10

Cost: 200 epochs of 50,000 images at 5.24 G multiply-adds an image.
Expected: about 82 % after 200 epochs; target 74-75 % within 100.

Published: two phases that switch after epoch 60: dropout 0.3, then 0.2; full, then reduced
augmentation; MixUp alpha 0.2, then 0.15; cosine with warm restarts (T0 = 25 epochs), then cosine.
SGD, momentum 0.9, weight decay 1e-3; learning rate 0.01 at the start, at most 0.1; batch size 256;
label smoothing 0.1; patience 15; the last 5 checkpoints are kept on a mounted drive, and uploads
to the Hugging Face Hub every 10 epochs and at each best epoch:

    residua train wrn28_10 --sync /mnt/drive --publish.repository USER/NAME

Decided here: full augmentation is flip, shift-scale-rotate (0.0625, 0.1, 15 degrees, p 0.5), one 8
x 8 hole (p 0.5), brightness and contrast 0.2 (p 0.3), hue and saturation (p 0.3); reduced is 0.05,
0.07, 10 degrees (p 0.35), one 6 x 6 hole (p 0.35), no hue. The learning rate warms up from 0.01 to
0.1 in the first epoch. Patience counts from epoch 60 on, because a warm restart lowers the accuracy
for more than 15 epochs.
"""

from residua.augment import Affine, CoarseDropout, ColorJitter, Flip, MixUp
from residua.models import wide_resnet
from residua.optim import SGD, CrossEntropy
from residua.recipes.publish import Publish
from residua.recipes.recipe import EarlyStopping, Recipe
from residua.schedules import Cosine, Linear, Phases, Scheduled, WarmRestarts


def switch(first: float, then: float) -> Scheduled:
    """One value until epoch 60, another one after it."""
    return Phases(boundaries=(60,), values=(first, then))


recipe = Recipe(
    name="wrn28_10",
    augmentation=(
        Flip(),
        Affine(
            translate=switch(0.0625, 0.05),
            scale=(switch(0.9, 0.93), switch(1.1, 1.07)),
            degrees=switch(15, 10),
            p=switch(0.5, 0.35),
            mode="reflect",
        ),
        ColorJitter(brightness=0.2, contrast=0.2, p=0.3),
        ColorJitter(saturation=0.2, hue=0.05, p=switch(0.3, 0)),
        CoarseDropout(size=switch(8, 6), p=switch(0.5, 0.35)),
        MixUp(alpha=switch(0.2, 0.15)),
    ),
    architecture=wide_resnet(28, 10, dropout=switch(0.3, 0.2)),
    loss=CrossEntropy(label_smoothing=0.1),
    optimizer=SGD(
        lr=Phases(
            boundaries=(1, 60),
            values=(
                Linear(start=0.01, end=0.1),
                WarmRestarts(start=0.1, t_0=25),
                Cosine(start=0.1),
            ),
        ),
        momentum=0.9,
        weight_decay=1e-3,
    ),
    epochs=200,
    batch_size=256,
    early_stopping=EarlyStopping(patience=15, start_epoch=60),
    keep_checkpoints=5,
    publish=Publish(every=10, best=True),
    target_accuracy=75,
    precision="float32",
)
