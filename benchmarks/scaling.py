"""What several ranks exchange, what that costs, and where more of them stop helping.

    python benchmarks/scaling.py                         print the tables of docs/scaling.md
    python benchmarks/scaling.py --measure FILE.json     measure two ranks on this machine first

The tables have measured inputs (the time of an image on a CPU, from records/) and computed figures:
what an exchange takes is a formula of bytes, link speed and latency, given with the tables.
Measuring compares one process with two threads and two ranks with one thread each, in one process
group of gloo, in alternation, and the same steps with the exchange after the backward pass and
without any. Nothing else should run meanwhile.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from residua import Recipe, resolve
from residua.distributed import World
from residua.models import training_flops
from residua.reports.kit.tables import Table, markdown_table
from residua.runs.environment import collect_environment
from residua.training.loop import step
from residua.training.reducer import Reducer
from residua.training.session import build_session, build_state

RECORDS = Path(__file__).parent.parent / "records"
SPEED_LOGS = {
    "resnet44": "2026-11-21-speed/resnet44",
    "resnet44v2": "2026-11-21-speed/resnet44v2",
    "resnet26w": "2026-11-21-resnet26w",
    "resnet34": "2026-11-21-speed/resnet34",
    "wrn28_10": "2026-11-21-speed/wrn28_10",
}
"""Runs on two CPU threads whose logs have images a second."""
RANKS = (8, 64, 512)
BACKWARD = 2 / 3
"""The part of a step's arithmetic that the backward pass is: exchanges hide behind it."""
Link = tuple[float, float]
"""Bytes a second and seconds of latency."""
ETHERNET = 10e9 / 8, 50e-6
"""Between machines with processors: 10 Gbit/s Ethernet."""
INFINIBAND = 200e9 / 8, 5e-6
"""Between GPUs: 200 Gbit/s for each, as in machines with one HDR adapter for each GPU."""
GPU_FLOPS = 312e12 * 0.3
"""A GPU's arithmetic: 312 TFLOP/s in bfloat16 (NVIDIA's figure of an A100), 30 % of it assumed."""
SECONDS_PER_LAYER = 12 * 5e-6
"""Assumed time below which a GPU does not get for a weighted layer: 12 kernels, 5 us each."""


def exchange_seconds(nbytes: int, ranks: int, link: Link) -> float:
    """Sum a tensor over ranks: 2 (K - 1) / K of it through each link, 2 log2 K latencies."""
    bandwidth, latency = link
    return 2 * (ranks - 1) / ranks * nbytes / bandwidth + 2 * (ranks - 1).bit_length() * latency


def step_seconds(compute: float, buckets: Sequence[int], ranks: int, link: Link) -> float:
    """A step whose exchanges hide behind the backward pass, all but the last one's."""
    each = [exchange_seconds(nbytes, ranks, link) for nbytes in buckets]
    exposed = max(sum(each) - BACKWARD * compute, each[-1])
    return compute + exposed + exchange_seconds(8, ranks, link)


def reducer_of(recipe: Recipe) -> tuple[Reducer, Any]:
    """The network of a recipe, and what exchanges its gradients."""
    network = recipe.architecture.build(100)
    return Reducer(network, World(0, 2)), network


def byte_table(recipes: dict[str, Recipe]) -> Table:
    """What a rank exchanges in a step."""
    header = [
        "system",
        "parameters",
        "gradients, MB",
        "buckets",
        "running statistics, kB",
        "step, MB",
    ]
    rows = []
    for name, recipe in recipes.items():
        reducer, network = reducer_of(recipe)
        gradients = sum(bucket.nbytes for bucket in reducer._buckets)
        statistics_ = reducer.bytes_per_step - gradients - 8
        parameters = sum(weight.numel() for weight in network.parameters())
        rows.append(
            [
                name,
                f"{parameters:,}",
                f"{gradients / 1e6:.2f}",
                str(len(reducer._buckets)),
                f"{statistics_ / 1e3:.1f}",
                f"{reducer.bytes_per_step / 1e6:.2f}",
            ]
        )
    return Table(header, rows)


def images_per_second(name: str) -> float:
    """Measured on two CPU threads."""
    log = RECORDS / SPEED_LOGS[name] / "log.jsonl"
    return float(json.loads(log.read_text().splitlines()[0])["images_per_second"])


def cpu_seconds(name: str, recipe: Recipe, images: float) -> float:  # noqa: ARG001
    """Arithmetic of a rank's images on two CPU threads, from a measured speed."""
    return images / images_per_second(name)


def gpu_seconds(name: str, recipe: Recipe, images: float) -> float:  # noqa: ARG001
    """Arithmetic of a rank's images on a GPU, computed; never below the time to start kernels."""
    network = recipe.architecture.build(100)
    layers = sum(weight.ndim > 1 for weight in network.parameters())
    return max(images * training_flops(network) / GPU_FLOPS, layers * SECONDS_PER_LAYER)


def scaling_table(
    recipes: dict[str, Recipe],
    seconds: Callable[[str, Recipe, float], float],
    link: Link,
) -> Table:
    """The speed-up of each system on more ranks, with the recipe's batch and with a larger one."""
    header = ["system", "batch", "ms, 1 rank"]
    header += [f"{ranks} ranks" for ranks in RANKS] + [
        f"{ranks}, {ranks} x batch" for ranks in RANKS
    ]
    rows = []
    for name, recipe in recipes.items():
        buckets = [bucket.nbytes for bucket in reducer_of(recipe)[0]._buckets]
        batch = recipe.batch_size
        alone = seconds(name, recipe, batch)
        row = [name, str(batch), f"{1000 * alone:,.1f}"]
        for ranks in RANKS:
            together = step_seconds(seconds(name, recipe, batch / ranks), buckets, ranks, link)
            row.append(f"{alone / together:.1f}" if batch >= ranks else "-")
        for ranks in RANKS:
            row.append(f"{ranks * alone / step_seconds(alone, buckets, ranks, link):,.1f}")
        rows.append(row)
    return Table(header, rows)


def measured_table(record: Any) -> Table:
    """The measured steps of one file."""
    header = ["system", "batch", "two ranks / two threads", "exchange, ms", "hidden"]
    rows = []
    for name, result in record["results"].items():
        ratio = [
            ranks / alone
            for ranks, alone in zip(result["overlapped"], result["alone"], strict=True)
        ]
        exchange = statistics.median(result["after"]) - statistics.median(result["none"])
        saved = statistics.median(result["after"]) - statistics.median(result["overlapped"])
        low, median, high = min(ratio), statistics.median(ratio), max(ratio)
        rows.append(
            [
                name,
                str(result["batch_size"]),
                f"{median:.2f} ({low:.2f} to {high:.2f})",
                f"{1000 * exchange:.1f}",
                f"{100 * saved / exchange:.0f} %" if exchange > 0 else "-",
            ]
        )
    return Table(header, rows)


def print_tables() -> None:
    """Print the tables of docs/scaling.md."""
    recipes = {name: resolve(name, []) for name in SPEED_LOGS}
    cpus = scaling_table(recipes, cpu_seconds, ETHERNET)
    gpus = scaling_table(recipes, gpu_seconds, INFINIBAND)
    print(f"{markdown_table(byte_table(recipes))}\n")
    print(f"Processors, 10 Gbit/s (computed):\n\n{markdown_table(cpus)}\n")
    print(f"GPUs, 200 Gbit/s (computed):\n\n{markdown_table(gpus)}\n")
    for path in sorted(RECORDS.glob("*-ranks/*.json")):
        print(f"{path.name}:\n\n{markdown_table(measured_table(json.loads(path.read_text())))}\n")


MODES = ("alone", "overlapped", "after", "none")
"""One process with two threads; two ranks that exchange gradients during the backward pass, after
it, or not at all."""


class Delayed(Reducer):
    """Exchanges gradients after the backward pass."""

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Compute all gradients, then sum them."""
        torch.autograd.backward(loss)
        for bucket in self._buckets if last else ():
            bucket.start()
        for bucket in self._buckets if last else ():
            bucket.finish()


def _steps(recipe: Recipe, mode: str, rank: int) -> Iterator[float]:
    """Seconds of successive steps."""
    torch.set_num_threads(2 if mode == "alone" else 1)
    world = World() if mode == "alone" else World(rank, 2)
    session = build_session(recipe, world)
    state = build_state(session)
    if mode == "after":
        state.reducer = Delayed(state.network, world)
    if mode == "none":
        state.reducer = Reducer(state.network, World())
    while True:
        started = time.perf_counter()
        step(session, state)
        yield time.perf_counter() - started


def _measure(
    rank: int, store: str, systems: list[str], rounds: int, batch: int, output: str
) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2)
    record: dict[str, Any] = {"results": {}}
    for name in systems:
        recipe = resolve(name, ["--data", "{kind: shapes100, train: 2000, test: 100}"])
        recipe = recipe.replace(batch_size=batch, device="cpu")
        samples: dict[str, list[float]] = {mode: [] for mode in MODES}
        entries = {
            mode: _steps(recipe, mode, rank) for mode in MODES if rank == 0 or mode != "alone"
        }
        for index in range(rounds + 2):
            for mode in MODES:
                dist.barrier()  # A rank that waits takes no core from the other one.
                if mode not in entries:
                    continue
                torch.set_num_threads(2 if mode == "alone" else 1)
                seconds = next(entries[mode])
                if index >= 2:
                    samples[mode].append(seconds)
        record["results"][name] = {"batch_size": batch, **samples}
    if rank == 0:
        environment = collect_environment(torch.device("cpu"), 0, 2)
        record["environment"] = environment.model_dump(mode="json")
        Path(output).write_text(json.dumps(record, indent=1) + "\n")
    dist.barrier()
    dist.destroy_process_group()


def measure(output: Path, systems: list[str], rounds: int, batch: int) -> None:
    """Measure, and write the seconds of each step to a file."""
    store = output.with_suffix(".store")
    arguments = (str(store), systems, rounds, batch, str(output))
    try:
        mp.spawn(_measure, arguments, nprocs=2)
    finally:
        store.unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", type=Path, metavar="FILE")
    parser.add_argument("--systems", nargs="+", default=["resnet44v2", "resnet26w"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.systems, arguments.rounds, arguments.batch_size)
        print(markdown_table(measured_table(json.loads(arguments.measure.read_text()))))
    else:
        print_tables()
