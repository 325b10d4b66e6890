"""Images for a network that residua trained; part of its repository.

The functions at the end are residua's own, copied when the repository was made.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from residua.data.decoding import prepare_image


class ResiduaImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """Images as uint8 (N, channels, size, size): the network normalizes them.

    Args:
        size: pixels of a side.
        fit: how images become square: crop, pad or stretch.
        channels: 3 for RGB, 1 for grey.
    """

    model_input_names = ("pixel_values",)

    def __init__(self, size: int = 32, fit: Any = "crop", channels: Any = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.fit, self.channels = size, fit, channels

    def __call__(self, images: Any, return_tensors: str | None = "pt", **_: Any) -> BatchFeature:
        """One image or a list: PIL images, or uint8 arrays (H, W, 3)."""
        listed = images if isinstance(images, list | tuple) else [images]
        opened = [
            image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
            for image in listed
        ]
        prepared = [prepare_image(each, self.size, self.fit, self.channels) for each in opened]
        pixels = np.stack(prepared)
        batch = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        return BatchFeature({"pixel_values": batch}, tensor_type=return_tensors)

    preprocess = __call__

    def to_dict(self) -> dict[str, Any]:
        """What preprocessor_config.json contains."""
        return {
            "image_processor_type": type(self).__name__,
            "size": self.size,
            "fit": self.fit,
            "channels": self.channels,
        }
