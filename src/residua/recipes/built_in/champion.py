"""WRN-28-10, 36.5 M parameters, for half an hour on one GPU. Not run yet.

    residua train champion

Cost: 150 epochs of 50,000 images at 5.24 G multiply-adds an image, each image twice (SAM): 472
PFLOP for forward and backward pass. Meant for a GPU with bfloat16 arithmetic.
Expected: not measured; the aim is 85.5 % within 30 minutes.

The recipe of Foret et al. (arXiv:2010.01412) for WRN-28-10 on CIFAR-100: SAM with their rho, cosine
learning rate, SGD with momentum. They found that SAM and strong augmentation improve accuracy
together.

Departure: TrivialAugment (arXiv:2103.10158), which needs no search, replaces their learned
augmentation.
"""

from residua.augment import Crop, Flip, TrivialAugment
from residua.models import wide_resnet
from residua.optim import SAM, SGD, CrossEntropy
from residua.recipes.recipe import Recipe
from residua.schedules import Cosine

recipe = Recipe(
    name="champion",
    augmentation=(Crop(padding=4), Flip(), TrivialAugment()),
    architecture=wide_resnet(28, 10),
    loss=CrossEntropy(label_smoothing=0.1),
    optimizer=SGD(lr=Cosine(start=0.1), momentum=0.9, nesterov=True, weight_decay=5e-4),
    sam=SAM(rho=0.1),
    epochs=150,
    batch_size=256,
    evaluate_every=10,
    save_every=10,
    precision="bfloat16",
    compile=True,
)
