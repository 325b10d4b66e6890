"""The outputs of a network's layers for one image."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from residua.errors import UserError
from residua.inference.evaluation import eval_mode
from residua.models import ResidualNetwork


def activation_maps(
    network: ResidualNetwork, image: Tensor, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """The output channels of layers, for one image.

    Args:
        network: on the image's device; run in evaluation mode, and left in its own.
        image: (C, H, W) float32, normalized as in training.
        layers: `stem`, `stage1`, `stage2` ..., or names of modules such as `stages.0.0.branch`;
            None takes the stem and every stage.

    Returns:
        (C, H', W') float32 of each layer, by name.

    Raises:
        UserError: there is no such layer, or its output has no height and width.
    """
    names = stage_names(network) if layers is None else layers
    outputs: dict[str, Tensor] = {}
    hooks = [
        _find_layer(network, name).register_forward_hook(partial(_keep, outputs, name))
        for name in names
    ]
    try:
        with eval_mode(network):
            network(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    if flat := [name for name in names if name not in outputs or outputs[name].ndim != 4]:
        raise UserError(f"the layer {flat[0]} has no feature maps: choose a convolution or a block")
    # Cloned: tensors of inference mode cannot be used where gradients are needed.
    return {name: torch.clone(outputs[name][0]) for name in names}


def stage_names(network: ResidualNetwork) -> list[str]:
    """`stem`, `stage1`, `stage2` ..."""
    return ["stem", *(f"stage{number}" for number in range(1, len(network.stages) + 1))]


def _keep(outputs: dict[str, Tensor], name: str, *call: object) -> None:
    """Keep a module's output; a copy, as the next layer may work in place."""
    output = call[-1]
    if isinstance(output, Tensor):
        outputs[name] = output.clone()


def _find_layer(network: ResidualNetwork, name: str) -> nn.Module:
    stages = {f"stage{number}": stage for number, stage in enumerate(network.stages, 1)}
    modules: dict[str, nn.Module] = {
        "stem": network.stem,
        **dict(network.named_modules()),
        **stages,
    }
    if not name or name not in modules:
        raise UserError(
            f"there is no layer {name!r}: choose from {', '.join(stage_names(network))}, or a name "
            "that `residua summary` prints"
        )
    return modules[name]
