"""Test-time augmentation: the copies of an image whose logits an evaluation averages."""

from collections.abc import Iterator
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

TTA = Literal["none", "mirror", "mirror_translate"]
TTA_DESCRIPTIONS: dict[TTA, str] = {
    "none": "each image once",
    "mirror": "each image and its mirror image",
    "mirror_translate": (
        "each image, two copies shifted by a pixel, and the mirror images of all three"
    ),
}


def tta_views(images: Tensor, tta: TTA) -> Iterator[tuple[float, Tensor]]:
    """Yield the weight and the pixels of each copy of a batch; the weights sum to 1.

    `mirror_translate` is the multi-crop evaluation of Jordan (arXiv:2404.00498): half of the weight
    on the image, a quarter each on the image shifted by one pixel up and left and by one pixel down
    and right, and each also mirrored. The edge is reflected into the shifted copies.

    Args:
        images: (N, 3, H, W), normalised.
        tta: which copies.
    """
    if tta == "none":
        yield 1.0, images
        return
    shifted = []
    if tta == "mirror_translate":
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        height, width = images.shape[2:]
        shifted = [padded[:, :, i : i + height, i : i + width] for i in (0, 2)]
    for weight, view in ((1 if not shifted else 0.5, images), *((0.25, copy) for copy in shifted)):
        yield weight / 2, view
        yield weight / 2, view.flip(3)
