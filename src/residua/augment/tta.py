"""Test-time augmentation: the views of an image whose logits are averaged."""

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
    """Yield the weight and the images of each view of a batch; the weights sum to 1.

    `mirror_translate` is the multi-crop evaluation of Jordan (arXiv:2404.00498): weight 1/2 for the
    image, 1/4 each for the image shifted by one pixel up and left, and down and right. Each weight
    is divided equally between the view and its mirror image. Shifted views have reflected edges.

    Args:
        images: (N, C, H, W), normalized.
        tta: selects the views.
    """
    if tta == "none":
        yield 1.0, images
        return
    views = [(1.0, images)]
    if tta == "mirror_translate":
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        height, width = images.shape[2:]
        shifted = [padded[:, :, i : i + height, i : i + width] for i in (0, 2)]
        views = [(0.5, images), *((0.25, view) for view in shifted)]
    for weight, view in views:
        yield weight / 2, view
        yield weight / 2, view.flip(3)
