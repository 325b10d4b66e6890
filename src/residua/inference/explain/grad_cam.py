"""Grad-CAM: the regions that support a class."""

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.inference.explain.gradients import gradients_in_eval_mode
from residua.models import ResidualNetwork


def grad_cam(
    network: ResidualNetwork, image: Tensor, target: int | None = None, stage: int = -1
) -> Tensor:
    """The heat map of Grad-CAM (Selvaraju et al., arXiv:1610.02391).

    A stage's output channels are summed, each weighted by the mean gradient of the class's logit;
    negative values are set to 0, and the map is resized to the image bilinearly.

    Args:
        network: on the image's device; run in evaluation mode, and left in its own.
        image: (C, H, W) float32, normalized as in training.
        target: the class; None takes the predicted one.
        stage: index of the stage whose output is used; the last one by default.

    Returns:
        (H, W) float32 in [0, 1], with a maximum of 1 unless no value is positive.
    """
    with gradients_in_eval_mode(network):
        end = range(len(network.stages))[stage] + 1
        features = network.stages[:end](network.stem(image[None])).detach()
        features.requires_grad_()
        logits = network.head(network.stages[end:](features))[0]
        index = logits.argmax() if target is None else target
        (gradients,) = torch.autograd.grad(logits[index], features)
    weights = gradients.mean((2, 3), keepdim=True)
    heatmap = (weights * features.detach()).sum(1, keepdim=True).relu()
    resized = F.interpolate(heatmap, image.shape[-2:], mode="bilinear")[0, 0]
    return resized / resized.max().clamp(min=1e-12)
