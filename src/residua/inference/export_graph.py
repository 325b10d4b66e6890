"""A network as one graph, from uint8 images of any size to probabilities."""

import torch
from torch import Tensor, nn

from residua.augment.tta import TTA, tta_views
from residua.models.network import NormalizedNetwork

PRECISION_BITS = 22
"""Bits after the point of Pillow's filter coefficients (`Resample.c`)."""


class ExportGraph(nn.Module):
    """Resizing, normalization, network, test-time augmentation and softmax, in float32.

    Resizing has the pixels of `residua.data.folder.prepare_image`, which uses Pillow.

    Args:
        network: from uint8 (N, 3, size, size) to logits.
        size: the side, in pixels, that images are resized to.
        tta: the test-time augmentation.
    """

    def __init__(self, network: NormalizedNetwork, size: int, tta: TTA) -> None:
        super().__init__()
        self.normalize, self.network = network.normalize, network.network
        self.size, self.tta = size, tta

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 (N, 3, H, W) to probabilities (N, K) float32."""
        weights, views = zip(
            *tta_views(self.normalize(crop_and_resize(images, self.size)), self.tta), strict=True
        )
        logits = self.network(torch.cat(views)).unflatten(0, (len(views), -1))
        probabilities: Tensor = (logits * torch.tensor(weights)[:, None, None]).sum(0).softmax(1)
        return probabilities


def crop_and_resize(images: Tensor, size: int) -> Tensor:
    """Crop the centre to a square and resize it, with the pixels of `data.folder.crop_and_resize`.

    Both passes of Pillow's bicubic filter, horizontal and vertical, are products with the matrix of
    its fixed-point coefficients. float64 holds their sums exactly, so the pixels are those of
    Pillow's integer arithmetic. Only operations on tensors are used, so that a traced graph takes
    any height and width.

    Args:
        images: uint8 (N, C, H, W).
        size: pixels of each side of the result.

    Returns:
        (N, C, size, size) float32 with integers in [0, 255].
    """
    rows, columns = (
        torch.arange(images.shape[axis], dtype=torch.float64, device=images.device)
        for axis in (2, 3)
    )
    height, width = rows[-1] + 1, columns[-1] + 1
    side = torch.minimum(height, width)
    horizontal = _bicubic_matrix(columns, (width - side) / 2, side, size)
    vertical = _bicubic_matrix(rows, (height - side) / 2, side, size)
    narrow = _fixed_point(images.double() @ horizontal.T)
    return _fixed_point(vertical @ narrow).float()


def _bicubic_matrix(index: Tensor, offset: Tensor, length: Tensor, size: int) -> Tensor:
    """Pillow's coefficients (size, len(index)) float64, integers, as `precompute_coeffs` has them.

    Args:
        index: 0, 1, ... of the pixels of a line, float64.
        offset: where the part that is resized begins.
        length: pixels of that part.
        size: pixels that it is resized to.
    """
    scale = length / size
    filter_scale = scale.clamp(min=1.0)
    support = 2 * filter_scale
    center = (
        offset + (torch.arange(size, dtype=torch.float64, device=index.device) + 0.5) * scale
    )[:, None]
    distance = ((index - center + 0.5) / filter_scale).abs()
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * -0.5
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    first, end = (center - support + 0.5).floor(), (center + support + 0.5).floor()
    weights = torch.where((index >= first) & (index < end), weights, 0.0)
    weights = weights / weights.sum(1, keepdim=True) * 2.0**PRECISION_BITS
    # Rounded half away from zero, as a C cast of w - 0.5 or w + 0.5 does.
    return torch.where(weights < 0, (weights - 0.5).ceil(), (weights + 0.5).floor())


def _fixed_point(sums: Tensor) -> Tensor:
    """Pillow's `clip8`: rounded to integers in [0, 255]."""
    return ((sums + 2.0 ** (PRECISION_BITS - 1)) / 2.0**PRECISION_BITS).floor().clamp(0, 255)
