"""All explanations of one prediction."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from residua.inference.classifier import Classifier
from residua.inference.explain.activation_maps import activation_maps
from residua.inference.explain.grad_cam import grad_cam
from residua.inference.explain.integrated_gradients import Attribution, integrated_gradients


@dataclass(frozen=True)
class Explanation:
    """What a network predicts for an image, and why."""

    image: Tensor
    """(C, H, W) uint8."""
    top: list[tuple[str, float]]
    """The five most probable classes with their probabilities, with the recipe's test-time
    augmentation."""
    target: str
    """The class that is explained."""
    heatmap: Tensor
    """(H, W) float32 in [0, 1]: Grad-CAM of the last stage."""
    attribution: Attribution
    """Integrated gradients of the class's logit."""
    maps: dict[str, Tensor]
    """Feature maps (C, H', W') by layer."""


def explain_image(
    classifier: Classifier,
    image: Tensor,
    target: str | None = None,
    layers: Sequence[str] | None = None,
) -> Explanation:
    """Explain a prediction, in float32 and without test-time augmentation.

    Args:
        classifier: the network.
        image: (C, H, W) uint8.
        target: the class to explain; None takes the predicted one.
        layers: whose feature maps to show, as for `activation_maps`.

    Raises:
        UserError: there is no such layer.
        ValueError: there is no such class, or the image has another type or shape.
    """
    (top,) = classifier.predict(image[None]).top(5)
    name = top[0][0] if target is None else target
    index = classifier.classes.index(name)
    network = classifier.network.network
    # Cloned: tensors of inference mode cannot be used where gradients are needed.
    normalized = classifier.network.normalize(image[None].to(classifier.device))[0].clone()
    return Explanation(
        image=image.cpu(),
        top=top,
        target=name,
        heatmap=grad_cam(network, normalized, index).cpu(),
        attribution=integrated_gradients(network, normalized, index),
        maps=activation_maps(network, normalized, layers),
    )
