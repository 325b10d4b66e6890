"""Images for a network that residua trained; part of its repository.

The functions at the end are residua's own, copied when the repository was made.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from residua.data.folder import prepare_image


class ResiduaImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """Images as uint8 (N, 3, size, size): the network normalizes them.

    Args:
        size: pixels of a side.
    """

    model_input_names = ("pixel_values",)

    def __init__(self, size: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def __call__(self, images: Any, return_tensors: str | None = "pt", **_: Any) -> BatchFeature:
        """One image or a list: PIL images, or uint8 arrays (H, W, 3)."""
        listed = images if isinstance(images, list | tuple) else [images]
        opened = [
            image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
            for image in listed
        ]
        pixels = np.stack([prepare_image(image, self.size) for image in opened])
        batch = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        return BatchFeature({"pixel_values": batch}, tensor_type=return_tensors)

    preprocess = __call__

    def to_dict(self) -> dict[str, Any]:
        """What preprocessor_config.json contains."""
        return {"image_processor_type": type(self).__name__, "size": self.size}
