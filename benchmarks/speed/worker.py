"""The process of a benchmark entry: it takes training steps on request and reports their times.

A separate process gives each entry its own allocator, peak memory and start-up time. Processes take
turns, so all of them are affected alike when the machine is slow for a while.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import torch

from residua.devices import peak_memory, select_device
from residua.recipes.loading import parse_recipe
from residua.recipes.recipe import Recipe
from speed.results import Sample, Startup


class StepTimer:
    """Times the steps of an entry, and blocks it between two samples.

    Args:
        device: the device that is timed.
        started: when the process was started, by `time.monotonic`, which all processes share.
        channel: where to write a `Startup`, then a `Sample` for each request on standard input.
    """

    def __init__(self, device: torch.device, started: float, channel: TextIO) -> None:
        self._device, self._started, self._channel = device, started, channel
        self._imported = self._prepared = time.monotonic() - started
        self._wait_seconds = 0.0
        self._requests = self._answer_requests()

    def prepared(self) -> None:
        """Report that data and network are ready."""
        self._prepared = time.monotonic() - self._started

    def step(self, wait_seconds: float = 0.0) -> None:
        """Report a finished step, and the seconds that it waited for its batch.

        Raises:
            SystemExit: no more samples are requested.
        """
        self._wait_seconds += wait_seconds
        next(self._requests)

    def _answer_requests(self) -> Iterator[None]:
        """Advances by one `yield` for each finished step."""
        start_clock(self._device)()
        first_step = time.monotonic() - self._started
        self._write(
            Startup(imported=self._imported, prepared=self._prepared, first_step=first_step)
        )
        for line in sys.stdin:
            warmup_steps, steps = map(int, line.split())
            for _ in range(warmup_steps):
                yield
            self._wait_seconds, elapsed = 0.0, start_clock(self._device)
            for _ in range(steps):
                yield
            sample = Sample(
                steps=steps,
                seconds=elapsed(),
                wait_seconds=self._wait_seconds,
                peak_memory_mib=peak_memory(self._device),
            )
            self._write(sample)
        raise SystemExit

    def _write(self, message: Startup | Sample) -> None:
        print(message.model_dump_json(), file=self._channel, flush=True)


def start_clock(device: torch.device) -> Callable[[], float]:
    """Start a clock, and return a function that waits for the device and gives elapsed seconds.

    On a GPU the clock is a pair of events, so that it measures the device's time.
    """
    if device.type != "cuda":
        started = time.perf_counter()
        return lambda: time.perf_counter() - started
    torch.cuda.synchronize(device)
    start = torch.Event("cuda", enable_timing=True)
    start.record()

    def elapsed() -> float:
        end = torch.Event("cuda", enable_timing=True)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    return elapsed


def serve(train: Callable[[Recipe, StepTimer], None]) -> None:
    """Run a training loop as the process of an entry: `PROGRAM RECIPE_AS_JSON START_TIME`.

    Writes a `Startup` to standard output after the first step. Then each line on standard input is
    a request: the number of steps to take untimed, and timed; it is answered by a `Sample`.

    Args:
        train: a loop that calls `prepared` once and `step` after each step.
    """
    # Only answers go to standard output: what libraries print goes to standard error.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    recipe = parse_recipe(json.loads(sys.argv[1]))
    train(recipe, StepTimer(select_device(recipe.device), float(sys.argv[2]), channel))
