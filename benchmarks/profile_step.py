"""Where the time of a training step goes, by torch's profiler, system by system.

    python benchmarks/profile_step.py                        the benchmark's systems
    python benchmarks/profile_step.py resnet44 --steps 2

Prints a table and writes the shares to a JSON file in OUTPUT. A share is of the time that the
operations themselves took; what the profiler adds to each is in `rest` for the most part.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speed import keep_json
from speed.systems import SYSTEMS, comparable, images, system
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from residua.augment import BatchRandom, Pipeline
from residua.devices import select_device
from residua.runs.environment import environment
from residua.training.loop import step
from residua.training.session import TrainingSession, build_session

PARTS = {
    "convolution": ("conv", "mkldnn_convolution", "cudnn_convolution"),
    "batch normalisation": ("batch_norm", "BatchNorm"),
    "activation": ("relu", "threshold", "silu", "gelu", "clamp_min"),
    "addition": ("AddBackward", "aten::add"),
    "pooling, head, loss": (
        "pool", "addmm", "aten::mm", "linear", "softmax", "nll", "cross_entropy", "Addmm",
        "dropout",
    ),
    "optimiser": ("Optimizer.step", "Optimizer.zero_grad"),
    "augmentation": ("augmentation",),
    "norms and tally": ("linalg_vector_norm", "_foreach_norm", "argmax", "stack", "aten::cat"),
}  # fmt: skip
"""What the operations of each part are called; the first that fits, from the outermost inwards."""
REST = "rest"


@dataclass(frozen=True)
class Marked(Pipeline):
    """A pipeline whose work the profiler knows by name."""

    def __call__(
        self, images: Tensor, labels: Tensor, draw: BatchRandom, size: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """As the pipeline itself."""
        with record_function("augmentation"):
            return super().__call__(images, labels, draw, size)


def part(event: Any) -> str:
    """The part that an operation belongs to, by its own name or that of what called it."""
    named = REST
    while event is not None:
        for name, words in PARTS.items():
            if any(word in event.name for word in words):
                named = name
                break
        event = event.cpu_parent
    return named


def shares(session: TrainingSession, steps: int) -> dict[str, float]:
    """The share of each part in the time of some steps, after one untimed."""
    pipeline = session.pipeline
    marked = Marked(pipeline.operations, pipeline.normalization, pipeline.classes)
    _, state = build_session(session.recipe)
    session = replace(session, pipeline=marked, forward=state.network)
    step(session, state)
    cuda = session.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as seen:
        for _ in range(steps):
            step(session, state)
    took: dict[str, float] = defaultdict(float)
    for event in seen.events():
        if event.device_type == DeviceType.CPU:
            own = event.self_device_time_total if cuda else event.self_cpu_time_total
            took[part(event)] += own
    whole = sum(took.values())
    return {name: took[name] / whole for name in (*PARTS, REST)}


def main() -> None:
    """Profile every system."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    asked = parser.parse_args()
    figures = {}
    for name in asked.systems:
        recipe = comparable(system(name), images(), asked.batch_size, asked.device, asked.precision)
        figures[name] = shares(build_session(recipe)[0], asked.steps)
        print(name, *(f"{part} {100 * share:.1f} %" for part, share in figures[name].items()))
    where = environment(select_device(asked.device), 0)
    record = {
        "environment": where,
        "batch_size": asked.batch_size,
        "precision": asked.precision,
        "steps": asked.steps,
        "shares": figures,
    }
    print(keep_json(json.dumps(record, indent=1), where, asked.output, "profile"))


if __name__ == "__main__":
    main()
