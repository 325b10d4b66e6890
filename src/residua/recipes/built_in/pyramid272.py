"""PyramidNet-272 with ShakeDrop and SAM, 26.1 M parameters. Not run yet.

    residua train pyramid272

Cost: 1800 epochs of 50,000 images at 4.45 G multiply-adds an image, each image twice (SAM): 4,803
PFLOP for forward and backward pass. Meant for a GPU with bfloat16 arithmetic.
Expected: not measured; published: 89.7 %.

`champion` with the best network of Foret et al. (arXiv:2010.01412, table 1): PyramidNet
(arXiv:1610.02915) with an alpha of 200, and ShakeDrop (arXiv:1802.02375) that shakes the last block
with a probability of one half.
"""

from residua.models import pyramid_net
from residua.recipes.built_in import champion
from residua.schedules import Cosine

recipe = champion.recipe.replace(
    name="pyramid272",
    architecture=pyramid_net(272, 200, bottleneck=True, shake_drop=0.5),
    epochs=1800,
    **{"sam.rho": 0.05, "optimizer.lr": Cosine(start=0.05)},
)
