"""What a benchmark measures, as a record keeps it: seconds as they were taken, nothing derived."""

from statistics import median
from typing import Any, NamedTuple

from residua.config import Config


class Start(Config):
    """A contender's way from its command to its first step, in seconds since the command."""

    imported: float
    """Until the interpreter runs and everything is imported."""
    prepared: float
    """Until data and network are there."""
    first: float
    """Until the first step is done, with all that is compiled or searched for on the way."""


class Lap(Config):
    """Some steps in a row."""

    steps: int
    seconds: float
    waited: float
    """Seconds of these in which the loop waited for its next batch, where it has to."""
    memory_mib: float
    """The most memory held so far: on the device, or by the process (not its workers) on a CPU."""


class Racer(Config):
    """What one contender took."""

    name: str
    does: str
    """In a sentence."""
    cold: Start
    """In a new process, with nothing compiled before."""
    warm: Start | None = None
    """In a new process again, with what the first one compiled; None where that was not tried."""
    laps: tuple[Lap, ...]
    """One a round."""

    @property
    def steps_seconds(self) -> list[float]:
        """Seconds a step, round by round."""
        return [lap.seconds / lap.steps for lap in self.laps]


class Race(Config):
    """Contenders that took turns at the same work, round by round."""

    name: str
    """Of the system, or of the work."""
    batch_size: int
    precision: str
    racers: tuple[Racer, ...]
    parameters: int = 0
    """Of the network, where there is one."""
    flops: int = 0
    """Floating-point operations of a step's convolutions and matrix products."""

    def racer(self, name: str) -> Racer | None:
        """The contender of this name; None where it did not take part."""
        return next((racer for racer in self.racers if racer.name == name), None)


class Bench(Config):
    """One benchmark on one machine."""

    environment: dict[str, Any]
    """As a run has it."""
    data: str
    """The kind of the images."""
    product_flops: int
    """Floating-point operations of one step of the contender `product`."""
    races: tuple[Race, ...]
    """Training steps, a race for every system."""
    augmentations: tuple[Race, ...] = ()
    """Augmentation alone, a race for every set of operations."""
    skipped: tuple[str, ...] = ()
    """Who did not take part, and why."""


class Ratio(NamedTuple):
    """A ratio in each round: its median, and how far it went."""

    median: float
    least: float
    most: float


def ratio(over: list[float], under: list[float]) -> Ratio:
    """Round by round one over the other: what slows a machine for a while slows both."""
    values = [upper / lower for upper, lower in zip(over, under, strict=True)]
    return Ratio(median(values), min(values), max(values))
