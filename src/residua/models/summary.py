"""Layers, parameters, memory and arithmetic of a network."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

MIB = 2**20


@dataclass(frozen=True)
class LayerSummary:
    """One layer: a module without children."""

    name: str
    kind: str
    """The name of the module's class."""
    shape: tuple[int, ...]
    """Of the output for one image."""
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """The layers of a network, with the sizes for one image."""

    layers: tuple[LayerSummary, ...]
    parameters: int
    trainable: int
    """Trainable parameters."""
    input_mib: float

    @property
    def multiply_adds(self) -> int:
        """Of one forward pass of one image, in convolutions and linear layers."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def depth(self) -> int:
        """The depth in a network's name: its linear layers and convolutions outside shortcuts.

        Attention layers do not count.
        """
        return sum(
            layer.multiply_adds > 0
            and not {"shortcut", "squeeze", "excite", "focus"} & set(layer.name.split("."))
            for layer in self.layers
        )

    @property
    def parameters_mib(self) -> float:
        """The parameters in MiB of float32."""
        return self.parameters * 4 / MIB

    @property
    def activations_mib(self) -> float:
        """The outputs of all layers in MiB of float32, twice: for forward and backward pass."""
        return 2 * sum(torch.Size(layer.shape).numel() for layer in self.layers) * 4 / MIB


def summarize(network: nn.Module, image_size: int = 32, channels: int = 3) -> Summary:
    """Run one blank image of `image_size` x `image_size` pixels and record every layer."""
    layers: list[LayerSummary] = []

    def record(name: str, module: nn.Module, output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        multiply_adds = 0
        if isinstance(module, nn.Conv2d | nn.Linear):
            multiply_adds = module.weight[0].numel() * output[0].numel()
        shape = tuple(output.shape[1:])
        layers.append(LayerSummary(name, type(module).__name__, shape, parameters, multiply_adds))

    hooks = [
        module.register_forward_hook(
            lambda module, _, output, name=name: record(name, module, output)
        )
        for name, module in network.named_modules()
        if not list(module.children()) and not isinstance(module, nn.Identity | nn.Flatten)
    ]
    training = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, channels, image_size, image_size))
    network.train(training)
    for hook in hooks:
        hook.remove()
    parameters = list(network.parameters())
    return Summary(
        tuple(layers),
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        channels * image_size * image_size * 4 / MIB,
    )


def training_flops(network: nn.Module, image_size: int = 32, channels: int = 3) -> int:
    """Floating-point operations of one training image: forward and backward pass.

    Counts convolutions and matrix products, as torch does: a multiply-add is two operations.

    Args:
        network: from (N, channels, image_size, image_size) to logits; moved to the meta device.
        image_size: side of the images, in pixels.
        channels: of the images.
    """
    network = network.to("meta").train()
    images = torch.empty(2, channels, image_size, image_size, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()
    return int(counter.get_total_flops()) // 2
