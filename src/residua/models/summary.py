"""A network's layers, parameters, memory and arithmetic."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One leaf module."""

    name: str
    kind: str
    shape: tuple[int, ...]
    """Of the output of one image."""
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """What a network is made of, for one image."""

    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    input_mib: float

    @property
    def multiply_adds(self) -> int:
        """Of one forward pass of one image, in convolutions and linear layers."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def depth(self) -> int:
        """Convolutions outside shortcuts, and linear layers: the depth in a network's name."""
        return sum(
            row.kind in ("Conv2d", "Linear")
            and not {"shortcut", "squeeze", "excite", "focus"} & set(row.name.split("."))
            for row in self.rows
        )

    @property
    def parameters_mib(self) -> float:
        """The parameters in MiB of float32."""
        return self.parameters * 4 / MIB

    @property
    def activations_mib(self) -> float:
        """Outputs of all layers in MiB of float32, counted twice for forward and backward."""
        return 2 * sum(torch.Size(row.shape).numel() for row in self.rows) * 4 / MIB


def summarize(network: nn.Module, size: int = 32) -> Summary:
    """Run one blank image of `size` x `size` pixels through a network and note every layer."""
    rows: list[Row] = []

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        weights = sum(parameter.numel() for parameter in module.parameters())
        works = isinstance(module, nn.Conv2d | nn.Linear)
        places = output[0].numel() // output.shape[1]
        adds = module.weight[0].numel() * output.shape[1] * places if works else 0  # type: ignore[index]
        rows.append(Row(name, type(module).__name__, tuple(output.shape[1:]), weights, adds))

    hooks = [
        module.register_forward_hook(
            lambda module, _, output, name=name: note(name, module, output)
        )
        for name, module in network.named_modules()
        if not list(module.children()) and not isinstance(module, nn.Identity | nn.Flatten)
    ]
    training = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    network.train(training)
    for hook in hooks:
        hook.remove()
    weights = list(network.parameters())
    return Summary(
        tuple(rows),
        sum(weight.numel() for weight in weights),
        sum(weight.numel() for weight in weights if weight.requires_grad),
        3 * size * size * 4 / MIB,
    )


def training_flops(network: nn.Module, side: int = 32) -> int:
    """Floating-point operations of training on one image: forward, backward, nothing else.

    Those of convolutions and matrix products, as torch counts them: a multiply-add is two.

    Args:
        network: from (N, 3, side, side) to logits; it goes to the meta device.
        side: of the images, in pixels.
    """
    network = network.to("meta").train()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(2, 3, side, side, device="meta")).sum().backward()
    return int(counter.get_total_flops()) // 2
