"""Every shape of convolution of the benchmark's systems beside a matrix product.

    python benchmarks/convolutions.py

Forward and backward (both gradients) of each shape, channels_last, in turns with a large matrix
product; the shares go to a JSON file in OUTPUT.
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
from speed import keep_json
from speed.product import fastest, flops
from speed.serve import elapsed
from speed.systems import SYSTEMS, system
from torch import Tensor, nn

from residua.devices import keep_freed_memory, select_device
from residua.inference.evaluation import AMP_DTYPES, eval_mode
from residua.runs.environment import environment

AT_LEAST = 0.05
"""Seconds that a shape is measured for in each round."""


class Shape(NamedTuple):
    """A convolution without bias that keeps the image's side but for its stride."""

    narrow: int
    wide: int
    kernel: int
    stride: int
    side: int
    """Of the image that goes in, in pixels."""

    def flops(self, batch_size: int) -> int:
        """Of the forward pass."""
        places = (self.side // self.stride) ** 2
        return 2 * batch_size * places * self.narrow * self.wide * self.kernel**2


def shapes(name: str) -> Iterator[Shape]:
    """The convolutions of a system, each as often as it is there."""
    found: list[Shape] = []

    def note(module: nn.Module, images: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        channels = (module.in_channels, module.out_channels)
        found.append(Shape(*channels, module.kernel_size[0], module.stride[0], images[0].shape[-1]))

    recipe = system(name)
    network = recipe.architecture.build(recipe.data.class_count)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with eval_mode(network):
        network(torch.zeros(1, 3, 32, 32))
    yield from found


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one call, the mean of as many as fill a while."""
    work()
    taken, began = 0, time.perf_counter()
    clock = elapsed(device)
    while time.perf_counter() - began < AT_LEAST:
        work()
        taken += 1
    return clock() / taken


def shares(
    shape: Shape, batch_size: int, rounds: int, device: torch.device, precision: str
) -> tuple[float, float]:
    """Forward's and backward's rates over a product's, medians over rounds."""
    number = AMP_DTYPES.get(precision, torch.float32)
    kind = {"device": device, "dtype": number}
    multiply = fastest(device, precision)
    images = torch.randn(batch_size, shape.narrow, shape.side, shape.side, **kind)
    weights = torch.randn(shape.wide, shape.narrow, shape.kernel, shape.kernel, **kind)
    images, weights = (
        each.contiguous(memory_format=torch.channels_last) for each in (images, weights)
    )
    places = (shape.stride, shape.kernel // 2)
    slope = torch.randn_like(F.conv2d(images, weights, None, *places))

    def backward() -> object:
        return torch.ops.aten.convolution_backward(
            slope, images, weights, None, [places[0]] * 2, [places[1]] * 2, [1, 1],
            False, [0, 0], 1, [True, True, False],
        )  # fmt: skip

    found = []
    for _ in range(rounds):
        product = flops(device) / seconds(multiply, device)
        forth = seconds(lambda: F.conv2d(images, weights, None, *places), device)
        back = seconds(backward, device)
        one = shape.flops(batch_size)
        found.append((one / forth / product, 2 * one / back / product))
    there, back_again = zip(*found, strict=True)
    return median(there), median(back_again)


def main() -> None:
    """Measure every distinct shape."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    asked = parser.parse_args()
    device = select_device(asked.device)
    if device.type == "cpu":
        keep_freed_memory()
    used: dict[Shape, dict[str, int]] = {}
    for name in asked.systems:
        for shape in shapes(name):
            counts = used.setdefault(shape, {})
            counts[name] = counts.get(name, 0) + 1
    rows = []
    for shape, counts in sorted(used.items()):
        forward, backward = shares(shape, asked.batch_size, asked.rounds, device, asked.precision)
        rows.append({**shape._asdict(), "forward": forward, "backward": backward, "used": counts})
        print(shape, f"forward {100 * forward:.0f} %, backward {100 * backward:.0f} %", counts)
    where = environment(device, 0)
    record = {
        "environment": where,
        "batch_size": asked.batch_size,
        "precision": asked.precision,
        "rounds": asked.rounds,
        "shapes": rows,
    }
    print(keep_json(json.dumps(record, indent=1), where, asked.output, "convolutions"))


if __name__ == "__main__":
    main()
