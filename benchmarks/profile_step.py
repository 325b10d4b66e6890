"""Show where the time of a training step goes, by torch's profiler, for each network.

    python benchmarks/profile_step.py                        the benchmark's networks
    python benchmarks/profile_step.py resnet44 --steps 2

Prints the shares of a step's parts and writes them to a JSON file in OUTPUT. A share is of the sum
of the operations' own times; most of the profiler's overhead is counted under `rest`.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speed.benchmark import save_json
from speed.systems import SYSTEMS, available_data, common_training, system_recipe
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from residua.augment import BatchRandom, Pipeline
from residua.augment.pipeline import BatchParams
from residua.devices import select_device
from residua.recipes.recipe import Recipe
from residua.runs.environment import collect_environment
from residua.training.loop import step
from residua.training.session import build_training

PARTS = {
    "convolution": ("conv", "mkldnn_convolution", "cudnn_convolution"),
    "batch norm": ("batch_norm", "BatchNorm"),
    "activation": ("relu", "threshold", "silu", "gelu", "clamp_min"),
    "addition": ("AddBackward", "aten::add"),
    "pooling, head, loss": (
        "pool", "addmm", "aten::mm", "linear", "softmax", "nll", "cross_entropy", "Addmm",
        "dropout",
    ),
    "optimizer": ("Optimizer.step", "Optimizer.zero_grad"),
    "augmentation": ("augmentation",),
    "gradient norms, metrics": (
        "linalg_vector_norm", "_foreach_norm", "argmax", "stack", "aten::cat",
    ),
}  # fmt: skip
"""Parts of a step, and strings in the names of their operations; the first match counts."""
REST = "rest"


@dataclass(frozen=True)
class ProfiledPipeline(Pipeline):
    """A pipeline whose work has a name in the profile."""

    def sample(self, random: BatchRandom, size: int | None = None) -> BatchParams:
        """Sample the parameters of a batch."""
        with record_function("augmentation"):
            return super().sample(random, size)

    def apply(self, images: Tensor, labels: Tensor, params: BatchParams) -> tuple[Tensor, Tensor]:
        """Augment a batch."""
        with record_function("augmentation"):
            return super().apply(images, labels, params)


def part(event: Any) -> str:
    """The part that an operation belongs to: that of its outermost caller that has one."""
    name = REST
    while event is not None:
        for candidate, patterns in PARTS.items():
            if any(pattern in event.name for pattern in patterns):
                name = candidate
                break
        event = event.cpu_parent
    return name


def shares(recipe: Recipe, steps: int) -> dict[str, float]:
    """The share of each part in the time of some steps, after one warm-up step."""
    session, state = build_training(recipe)
    pipeline = session.pipeline
    profiled = ProfiledPipeline(pipeline.operations, pipeline.normalize, pipeline.classes)
    session = replace(session, pipeline=profiled)
    step(session, state)
    cuda = session.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            step(session, state)
    times: dict[str, float] = defaultdict(float)
    for event in profiler.events():
        if event.device_type == DeviceType.CPU:
            own = event.self_device_time_total if cuda else event.self_cpu_time_total
            times[part(event)] += own
    total = sum(times.values())
    return {name: times[name] / total for name in (*PARTS, REST)}


def main() -> None:
    """Profile all networks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    measured = {}
    for name in options.systems:
        recipe = common_training(
            system_recipe(name),
            available_data(),
            options.batch_size,
            options.device,
            options.precision,
        )
        measured[name] = shares(recipe, options.steps)
        print(name, *(f"{part} {100 * share:.1f} %" for part, share in measured[name].items()))
    environment = collect_environment(select_device(options.device), 0)
    record = {
        "environment": environment.model_dump(mode="json"),
        "batch_size": options.batch_size,
        "precision": options.precision,
        "steps": options.steps,
        "shares": measured,
    }
    print(save_json(json.dumps(record, indent=1), environment, options.output, "profile"))


if __name__ == "__main__":
    main()
