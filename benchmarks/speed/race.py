"""Contenders at the same work, in turns."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from residua.config import Config
from residua.errors import UserError
from residua.recipes.recipe import Recipe
from speed.contender import Contender, Process, started
from speed.figures import Lap, Race, Racer, Start

WARM = 1.0
"""Seconds of steps that are taken untimed before each lap; none, where one step takes longer."""
LAP = 3.0
"""Seconds that a lap takes, where the number of its steps is not given; one step at least."""
Say = Callable[[str], None]


class Effort(Config):
    """How much is measured."""

    rounds: int = 3
    """Laps of every contender."""
    steps: int | None = None
    """Steps of a lap; left out: what takes about three seconds."""


def race(
    recipe: Recipe, contenders: Sequence[Contender], effort: Effort, say: Say = lambda _: None
) -> tuple[Race, list[str]]:
    """Let contenders take laps in turns; also who broke down, and why.

    Each starts in a process of its own, one after another, with nothing compiled; the order of a
    round is that of the round before, backwards. Afterwards each starts once more, with what was
    compiled the first time.
    """
    broken: list[str] = []
    with TemporaryDirectory() as home:
        with ExitStack() as stack:
            processes: list[Process] = []
            for contender in contenders:
                say(f"{recipe.name}: {contender.name} starts")
                try:
                    cache = Path(home) / contender.name
                    processes.append(stack.enter_context(started(contender, recipe, cache)))
                except UserError as error:
                    broken.append(f"{recipe.name}: {error}")
            laps = _rounds(processes, effort, lambda text: say(f"{recipe.name}: {text}"))
        racers = []
        for process, taken in zip(processes, laps, strict=True):
            contender, warm = process.contender, None
            if contender.restarts:
                say(f"{recipe.name}: {contender.name} starts again")
                warm = _start(contender, recipe, Path(home) / contender.name)
            racers.append(
                Racer(
                    name=contender.name,
                    does=contender.does,
                    cold=process.start,
                    warm=warm,
                    laps=tuple(taken),
                )
            )
    return Race(
        name=recipe.name,
        batch_size=recipe.batch_size,
        precision=recipe.precision,
        racers=tuple(racers),
    ), broken


def _rounds(processes: Sequence[Process], effort: Effort, say: Say) -> list[list[Lap]]:
    laps: list[list[Lap]] = [[] for _ in processes]
    plans = [_plan(process, effort) for process in processes]
    order = list(range(len(processes)))
    for number in range(effort.rounds):
        say(f"round {number + 1} of {effort.rounds}")
        for place in order:
            laps[place].append(processes[place].lap(*plans[place]))
        order.reverse()
    return laps


def _plan(process: Process, effort: Effort) -> tuple[int, int]:
    """Steps to take untimed and timed in each lap."""
    pace = process.lap(0, 1).seconds
    if pace < WARM / 10:
        pace = process.lap(5, 5).seconds / 5
    return int(WARM / pace), effort.steps or max(1, round(LAP / pace))


def _start(contender: Contender, recipe: Recipe, cache: Path) -> Start:
    with started(contender, recipe, cache) as process:
        return process.start
