"""Measure several entries in alternation."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from residua.config import Config
from residua.errors import UserError
from residua.recipes.recipe import Recipe
from speed.entry import Entry, Worker, start_worker
from speed.results import Comparison, Result, Sample, Startup

WARMUP_SECONDS = 1.0
"""Untimed steps before each sample; none if a single step takes longer."""
SAMPLE_SECONDS = 3.0
"""Length of a sample if its number of steps is not given; at least one step."""
Progress = Callable[[str], None]


class BenchConfig(Config):
    """How much to measure."""

    rounds: int = 3
    """Samples of each entry."""
    steps: int | None = None
    """Steps of a sample; None for as many as take about three seconds."""


def compare(
    recipe: Recipe,
    entries: Sequence[Entry],
    config: BenchConfig,
    progress: Progress = lambda _: None,
) -> tuple[Comparison, list[str]]:
    """Measure entries in alternation.

    Each entry is started in a process of its own, one after another, without compiled code. Every
    second round goes through the entries in reverse order. At the end each entry is started once
    more, with the code that its first process compiled.

    Args:
        recipe: what every entry trains.
        entries: the entries; those that fail to start are skipped.
        config: how much to measure.
        progress: is called with a line of text for each stage.

    Returns:
        The comparison, and a line for each skipped entry.

    Raises:
        UserError: an entry failed after its first step.
    """
    skipped: list[str] = []
    with TemporaryDirectory() as folder:
        with ExitStack() as stack:
            workers: list[Worker] = []
            for entry in entries:
                progress(f"{recipe.name}: starting {entry.name}")
                try:
                    cache = Path(folder) / entry.name
                    workers.append(stack.enter_context(start_worker(entry, recipe, cache)))
                except UserError as error:
                    skipped.append(f"{recipe.name}: {error}")
            samples = _sample(workers, config, lambda text: progress(f"{recipe.name}: {text}"))
        results = []
        for worker, own_samples in zip(workers, samples, strict=True):
            entry, warm_start = worker.entry, None
            if entry.restarts:
                progress(f"{recipe.name}: restarting {entry.name}")
                warm_start = _startup(entry, recipe, Path(folder) / entry.name)
            result = Result(
                name=entry.name,
                description=entry.description,
                cold_start=worker.startup,
                warm_start=warm_start,
                samples=tuple(own_samples),
            )
            results.append(result)
    comparison = Comparison(
        name=recipe.name,
        batch_size=recipe.batch_size,
        precision=recipe.precision,
        results=tuple(results),
    )
    return comparison, skipped


def _sample(
    workers: Sequence[Worker], config: BenchConfig, progress: Progress
) -> list[list[Sample]]:
    samples: list[list[Sample]] = [[] for _ in workers]
    steps = [_sample_steps(worker, config) for worker in workers]
    order = list(range(len(workers)))
    for number in range(config.rounds):
        progress(f"round {number + 1} of {config.rounds}")
        for index in order:
            samples[index].append(workers[index].sample(*steps[index]))
        order.reverse()
    return samples


def _sample_steps(worker: Worker, config: BenchConfig) -> tuple[int, int]:
    """The number of untimed and of timed steps in each sample."""
    step_seconds = worker.sample(0, 1).seconds
    if step_seconds < WARMUP_SECONDS / 10:
        step_seconds = worker.sample(5, 5).seconds / 5
    timed = config.steps or max(1, round(SAMPLE_SECONDS / step_seconds))
    return int(WARMUP_SECONDS / step_seconds), timed


def _startup(entry: Entry, recipe: Recipe, cache: Path) -> Startup:
    with start_worker(entry, recipe, cache) as worker:
        return worker.startup
