"""Measure each convolution shape of the benchmark's networks relative to a matrix product.

    python benchmarks/convolutions.py

Measures forward and backward (both gradients) of each shape in channels_last layout, alternating
with a large matrix product. Writes the ratios to a JSON file in OUTPUT.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from speed.benchmark import save_json
from speed.matmul import fastest_matmul, matmul_flops
from speed.systems import SYSTEMS, system_recipe
from speed.worker import start_clock
from torch import Tensor, nn

from residua.devices import keep_freed_memory, select_device
from residua.inference.evaluation import AMP_DTYPES, eval_mode
from residua.runs.environment import collect_environment

MIN_SECONDS = 0.05
"""How long each shape is measured in each round."""


class ConvShape(NamedTuple):
    """A convolution without bias, with padding that keeps the image size at stride 1."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    image_size: int
    """Of the input, in pixels."""

    def flops(self, batch_size: int) -> int:
        """Floating-point operations of the forward pass."""
        pixels = (self.image_size // self.stride) ** 2
        return 2 * batch_size * pixels * self.in_channels * self.out_channels * self.kernel_size**2


def conv_shapes(name: str) -> Iterator[ConvShape]:
    """All convolutions of a system, with repetitions."""
    shapes: list[ConvShape] = []

    def add_shape(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        channels = (module.in_channels, module.out_channels)
        kernel_size, stride = module.kernel_size[0], module.stride[0]
        shapes.append(ConvShape(*channels, kernel_size, stride, inputs[0].shape[-1]))

    recipe = system_recipe(name)
    network = recipe.architecture.build(recipe.data.num_classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add_shape)
    with eval_mode(network):
        network(torch.zeros(1, 3, 32, 32))
    yield from shapes


def mean_seconds(function: Callable[[], object], device: torch.device) -> float:
    """Mean time of a call, over as many calls as take `MIN_SECONDS`."""
    function()
    calls, started = 0, time.perf_counter()
    elapsed = start_clock(device)
    while time.perf_counter() - started < MIN_SECONDS:
        function()
        calls += 1
    return elapsed() / calls


def relative_speed(
    shape: ConvShape, batch_size: int, rounds: int, device: torch.device, precision: str
) -> tuple[float, float]:
    """FLOP per second of forward and backward relative to a matrix product, medians of rounds."""
    options = {"device": device, "dtype": AMP_DTYPES.get(precision, torch.float32)}
    multiply = fastest_matmul(device, precision)
    size, kernel_size = shape.image_size, shape.kernel_size
    images = torch.randn(batch_size, shape.in_channels, size, size, **options)
    weights = torch.randn(
        shape.out_channels, shape.in_channels, kernel_size, kernel_size, **options
    )
    images, weights = (
        each.contiguous(memory_format=torch.channels_last) for each in (images, weights)
    )
    stride, padding = shape.stride, kernel_size // 2
    gradient = torch.randn_like(F.conv2d(images, weights, None, stride, padding))

    def forward() -> object:
        return F.conv2d(images, weights, None, stride, padding)

    def backward() -> object:
        return torch.ops.aten.convolution_backward(
            gradient, images, weights, None, [stride] * 2, [padding] * 2, [1, 1],
            False, [0, 0], 1, [True, True, False],
        )  # fmt: skip

    flops = shape.flops(batch_size)
    forward_speeds, backward_speeds = [], []
    for _ in range(rounds):
        limit = matmul_flops(device) / mean_seconds(multiply, device)
        forward_speeds.append(flops / mean_seconds(forward, device) / limit)
        backward_speeds.append(2 * flops / mean_seconds(backward, device) / limit)
    return median(forward_speeds), median(backward_speeds)


def main() -> None:
    """Measure all distinct shapes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    device = select_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    uses: dict[ConvShape, dict[str, int]] = {}
    for name in options.systems:
        for shape in conv_shapes(name):
            counts = uses.setdefault(shape, {})
            counts[name] = counts.get(name, 0) + 1
    rows = []
    for shape, counts in sorted(uses.items()):
        forward, backward = relative_speed(
            shape, options.batch_size, options.rounds, device, options.precision
        )
        rows.append({**shape._asdict(), "forward": forward, "backward": backward, "uses": counts})
        print(shape, f"forward {100 * forward:.0f} %, backward {100 * backward:.0f} %", counts)
    environment = collect_environment(device, 0)
    record = {
        "environment": environment.model_dump(mode="json"),
        "batch_size": options.batch_size,
        "precision": options.precision,
        "rounds": options.rounds,
        "shapes": rows,
    }
    text = json.dumps(record, indent=1)
    print(save_json(text, environment, options.output, "convolutions"))


if __name__ == "__main__":
    main()
