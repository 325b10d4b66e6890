"""As accurate as half an hour of one GPU allows: WRN-28-10, 36.5 M parameters. Not run yet.

    residua train champion

Cost: 150 epochs of 50,000 images at 5.24 G multiply-adds an image, each image twice (SAM): 472
PFLOP forward and backward. Meant for a GPU that multiplies in bfloat16. Expected: nothing was
measured; the aim is 85.5 % within 30 minutes.

WRN-28-10 under the recipe of Foret et al. (arXiv:2010.01412), who found that looking for flat
minima and strong augmentation add up: SAM at the radius that they took for CIFAR-100, half a
cosine, SGD with momentum. Their learnt augmentation is replaced by TrivialAugment
(arXiv:2103.10158), which searches for nothing.
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
    precision="bfloat16",
    compile=True,
)
