"""Measure a training step while its run is published to a server that never answers.

    python benchmarks/publishing.py                          quickstart, 12 pairs of epochs
    python benchmarks/publishing.py pocket --pairs 6

Two trainings of the same recipe take turns in one process, epoch by epoch; which of the two is
first changes with each pair. One is published after every epoch to a server on this machine that
accepts connections and stays silent; the process that uploads is suspended while the other one
trains. Prints the ratio of the median step times of each pair, and what the training waits for at
the end of an epoch; writes a JSON file to OUTPUT.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from speed.benchmark import save_json

from residua.devices import select_device
from residua.integrations.observers import PublishObserver
from residua.recipes.loading import resolve
from residua.recipes.publish import Publish
from residua.recipes.recipe import Recipe
from residua.runs.environment import collect_environment
from residua.training.events import EpochFinished, Event, StepFinished, observe
from residua.training.loop import train


@dataclass(frozen=True)
class Segment:
    """An epoch of one training."""

    step: float
    """The median time of a step, in seconds."""
    staging: float
    """Seconds that the observer took at the end of the epoch."""


class TimedObserver:
    """An observer, and the seconds that its last call at the end of an epoch took."""

    def __init__(self, observer: PublishObserver) -> None:
        self.observer, self.seconds = observer, 0.0

    def __call__(self, event: Event) -> None:
        """Handle an event of a training."""
        started = time.perf_counter()
        self.observer(event)
        if isinstance(event, EpochFinished):
            self.seconds = time.perf_counter() - started

    @property
    def process(self) -> int | None:
        """The process that uploads, while it runs."""
        process = self.observer._process
        return process.pid if process is not None and process.poll() is None else None

    def signal(self, number: int) -> None:
        """Send a signal to the process that uploads."""
        if self.process is not None:
            os.kill(self.process, number)


def epoch(events: Iterator[Event], observer: TimedObserver | None) -> Segment:
    """Train one epoch."""
    times, before = [], None
    for event in events:
        now = time.perf_counter()
        if isinstance(event, StepFinished):
            if before is not None:
                times.append(now - before)
            before = now
        elif isinstance(event, EpochFinished):
            break
    return Segment(statistics.median(times), observer.seconds if observer else 0.0)


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                accepted.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    for connection in accepted:
        connection.close()


def measure(recipe: Recipe, pairs: int, folder: Path) -> list[tuple[Segment, Segment]]:
    """The published and the plain epoch of each pair; the first pair, which warms up, left out."""
    longer = recipe.replace(epochs=pairs + 2)
    publish = Publish(repository="nobody/nothing", every=1)
    observer = TimedObserver(PublishObserver(publish, print))
    published = observe(train(longer.replace(publish=publish), folder / "published"), observer)
    plain = train(longer, folder / "plain")
    measured = []
    for number in range(pairs + 1):
        segments: dict[str, Segment] = {}
        for name in ("published", "plain") if number % 2 else ("plain", "published"):
            observer.signal(signal.SIGCONT if name == "published" else signal.SIGSTOP)
            if name == "published":
                segments[name] = epoch(published, observer)
            else:
                segments[name] = epoch(plain, None)
        measured.append((segments["published"], segments["plain"]))
        print(f"pair {number}: {segments['published'].step / segments['plain'].step:.4f}")
    observer.signal(signal.SIGKILL)
    if observer.observer._process is not None:
        observer.observer._process.wait()
    return measured[1:]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="quickstart")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--output", type=Path, default=Path("records/bench"))
    options, overrides = parser.parse_known_args()
    recipe = resolve(options.recipe, overrides)
    with tempfile.TemporaryDirectory() as folder, silent_server() as address:
        os.environ |= {"HF_ENDPOINT": address, "HF_TOKEN": "none", "HF_HOME": folder}
        pairs = measure(recipe, options.pairs, Path(folder))
    ratios = [published.step / plain.step for published, plain in pairs]
    staging = [published.staging for published, _ in pairs]
    low, *_, high = statistics.quantiles(ratios, n=4)
    print(
        f"{recipe.name}: step time with publishing / without: median "
        f"{statistics.median(ratios):.4f}, quartiles {low:.4f} to {high:.4f}, {len(ratios)} pairs"
    )
    print(f"staging at the end of an epoch: median {1000 * statistics.median(staging):.1f} ms")
    results: dict[str, object] = {
        "recipe": recipe.name,
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
        "staging_seconds": staging,
        "published": [asdict(published) for published, _ in pairs],
        "plain": [asdict(plain) for _, plain in pairs],
    }
    environment = collect_environment(select_device(recipe.device), recipe.seed)
    results["environment"] = environment.model_dump(mode="json")
    print(save_json(json.dumps(results, indent=1), environment, options.output, "publishing"))


if __name__ == "__main__":
    main()
