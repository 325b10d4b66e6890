"""Where in an image the grounds of a decision lie."""

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.models import ResidualNetwork


def grad_cam(
    network: ResidualNetwork, image: Tensor, target: int | None = None, stage: int = -1
) -> Tensor:
    """The places that speak for a class (Selvaraju et al., arXiv:1610.02391).

    A stage's channels are summed, each weighted with the mean gradient of the class's logit in it;
    what is below 0 speaks against the class and is left out. Bilinearly enlarged to the image.

    Args:
        network: on the image's device; evaluated, whatever mode it is in, and left as it was.
        image: (3, H, W) float32, normalised as in training.
        target: the class; None takes the predicted one.
        stage: whose output is looked at, counted as places of a list are; the last one by default.

    Returns:
        (H, W) float32 in [0, 1], its maximum 1 unless nothing speaks for the class.
    """
    training = network.training
    network.eval()
    try:
        with torch.enable_grad():
            place = range(len(network.stages))[stage] + 1
            features = network.stages[:place](network.stem(image[None])).detach()
            features.requires_grad_()
            deeper = network.stages[place:](features)
            logits = network.head(deeper)[0]
            chosen = logits.argmax() if target is None else target
            (slopes,) = torch.autograd.grad(logits[chosen], features)
    finally:
        network.train(training)
    weights = slopes.mean((2, 3), keepdim=True)
    found = (weights * features.detach()).sum(1, keepdim=True).relu()
    map_ = F.interpolate(found, image.shape[-2:], mode="bilinear")[0, 0]
    return map_ / map_.max().clamp(min=1e-12)
