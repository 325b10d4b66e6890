"""What each stage of a network makes of one image."""

import torch
from torch import Tensor

from residua.inference.evaluation import eval_mode
from residua.models import ResidualNetwork


def activation_maps(network: ResidualNetwork, image: Tensor) -> dict[str, Tensor]:
    """The output channels of the stem and of every stage, for one image.

    Args:
        network: on the image's device; evaluated, whatever mode it is in.
        image: (3, H, W) float32, normalised as in training.

    Returns:
        `stem`, `stage1`, `stage2` ... to (C, H', W') float32 each.
    """
    with eval_mode(network):
        features = network.stem(image[None])
        maps = {"stem": features}
        for place, stage in enumerate(network.stages, 1):
            features = stage(features)
            maps[f"stage{place}"] = features
    # Copied, since what inference mode makes is good for nothing that needs gradients.
    return {name: torch.clone(found[0]) for name, found in maps.items()}
