"""WRN-28-10, 36.5 M parameters, with SAM and AutoAugment. Not run yet.

    residua train champion

Cost: 200 epochs of 50,000 images at 5.24 G multiply-adds an image, each image twice (SAM): 629
PFLOP for forward and backward pass. Meant for a GPU with bfloat16 arithmetic.
Expected: not measured; published: 86.4 %.

The recipe of Foret et al. (arXiv:2010.01412, table 1) for WRN-28-10 on CIFAR-100: SAM with their
rho, AutoAugment, cosine learning rate, SGD with momentum.
"""

from residua.augment import AutoAugment, Crop, Cutout, Flip
from residua.models import wide_resnet
from residua.optim import SAM, SGD, CrossEntropy
from residua.recipes.recipe import Recipe
from residua.schedules import Cosine

recipe = Recipe(
    name="champion",
    augmentation=(Crop(padding=4), Flip(), AutoAugment(), Cutout(size=16, p=1)),
    architecture=wide_resnet(28, 10),
    loss=CrossEntropy(label_smoothing=0.1),
    optimizer=SGD(lr=Cosine(start=0.1), momentum=0.9, nesterov=True, weight_decay=5e-4),
    sam=SAM(rho=0.1),
    epochs=200,
    batch_size=256,
    evaluate_every=10,
    save_every=10,
    precision="bfloat16",
    compile=True,
)
