"""The far side of a contender: a process that trains, and takes its steps when it is told to.

A process of its own gives each contender its own allocator, its own peak of memory and a start of
its own; taking turns, they share the machine's good and bad moments.
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
from speed.figures import Lap, Start


class Track:
    """What a contender reports to, and is held up by between its laps.

    `began` is the time on the monotonic clock, which all processes of a machine share.
    """

    def __init__(self, device: torch.device, began: float, channel: TextIO) -> None:
        self._device, self._began, self._channel = device, began, channel
        self._imported = self._prepared = time.monotonic() - began
        self._waited = 0.0
        self._script = self._follow()

    def prepared(self) -> None:
        """Data and network are there."""
        self._prepared = time.monotonic() - self._began

    def step(self, waited: float = 0.0) -> None:
        """A step was taken, after waiting so many seconds for its batch.

        Raises:
            SystemExit: no further laps are wanted.
        """
        self._waited += waited
        next(self._script)

    def _follow(self) -> Iterator[None]:
        """Goes on from one `yield` to the next whenever a step was taken."""
        elapsed(self._device)()
        first = time.monotonic() - self._began
        self._say(Start(imported=self._imported, prepared=self._prepared, first=first))
        for line in sys.stdin:
            warm, steps = map(int, line.split())
            for _ in range(warm):
                yield
            self._waited, seconds = 0.0, elapsed(self._device)
            for _ in range(steps):
                yield
            lap = Lap(
                steps=steps,
                seconds=seconds(),
                waited=self._waited,
                memory_mib=peak_memory(self._device),
            )
            self._say(lap)
        raise SystemExit

    def _say(self, said: Start | Lap) -> None:
        print(said.model_dump_json(), file=self._channel, flush=True)


def elapsed(device: torch.device) -> Callable[[], float]:
    """Start a clock; calling what it gives tells the seconds since, all work on the device done.

    On a GPU the clock is a pair of events, so it runs while the device does.
    """
    if device.type != "cuda":
        began = time.perf_counter()
        return lambda: time.perf_counter() - began
    torch.cuda.synchronize(device)
    start = torch.Event("cuda", enable_timing=True)
    start.record()

    def seconds() -> float:
        end = torch.Event("cuda", enable_timing=True)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    return seconds


def serve(train: Callable[[Recipe, Track], None]) -> None:
    """Be a contender's process: `PROGRAM RECIPE_AS_JSON TIME_OF_THE_COMMAND`.

    Every line on standard input says how many steps to take untimed, then timed; each is answered
    by a `Lap` on standard output, after the `Start` that comes unasked.
    """
    # Only answers go to standard output: what libraries print goes where errors go.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    recipe = parse_recipe(json.loads(sys.argv[1]))
    train(recipe, Track(select_device(recipe.device), float(sys.argv[2]), channel))
