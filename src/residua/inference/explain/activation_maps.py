"""The outputs of a network's stages for one image."""

import torch
from torch import Tensor

from residua.inference.evaluation import eval_mode
from residua.models import ResidualNetwork


def activation_maps(network: ResidualNetwork, image: Tensor) -> dict[str, Tensor]:
    """The output channels of the stem and of every stage, for one image.

    Args:
        network: on the image's device; run in evaluation mode, and left in its own.
        image: (3, H, W) float32, normalized as in training.

    Returns:
        `stem`, `stage1`, `stage2` ... to (C, H', W') float32 each.
    """
    with eval_mode(network):
        features = network.stem(image[None])
        maps = {"stem": features}
        for number, stage in enumerate(network.stages, 1):
            features = stage(features)
            maps[f"stage{number}"] = features
    # Cloned: tensors of inference mode cannot be used where gradients are needed.
    return {name: torch.clone(output[0]) for name, output in maps.items()}
