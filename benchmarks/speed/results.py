"""The measurements of a benchmark, as its JSON file stores them: raw seconds, nothing derived."""

from statistics import median
from typing import NamedTuple

from residua.config import Config
from residua.runs.environment import Environment


class Startup(Config):
    """The time from the command that starts an entry to its first step.

    All times are seconds since that command.
    """

    imported: float
    """When all modules were imported."""
    prepared: float
    """When data and network were ready."""
    first_step: float
    """When the first step was finished, including all compilation and algorithm search."""


class Sample(Config):
    """One timed sequence of steps."""

    steps: int
    seconds: float
    wait_seconds: float
    """The part of `seconds` in which the loop waited for its next batch."""
    peak_memory_mib: float
    """Peak memory so far: of the device, or on a CPU of the process without its children."""


class Result(Config):
    """The measurements of one entry."""

    name: str
    description: str
    cold_start: Startup
    """In a new process, without compiled code from an earlier one."""
    warm_start: Startup | None = None
    """In a second process, with the code that the first one compiled; None if not measured."""
    samples: tuple[Sample, ...]
    """One for each round."""

    @property
    def step_seconds(self) -> list[float]:
        """Seconds per step, one value for each round."""
        return [sample.seconds / sample.steps for sample in self.samples]


class Comparison(Config):
    """The results of several entries that did the same work in alternation."""

    name: str
    """Of the network, or of the augmentation."""
    batch_size: int
    precision: str
    results: tuple[Result, ...]
    parameters: int = 0
    """Of the network; 0 where no network was trained."""
    flops: int = 0
    """Floating-point operations of a step's convolutions and matrix products."""

    def result(self, name: str) -> Result | None:
        """The result of the entry with this name; None if it did not take part."""
        return next((result for result in self.results if result.name == name), None)


class Bench(Config):
    """All comparisons of one benchmark on one machine."""

    environment: Environment
    data: str
    """The kind of the data set."""
    matmul_flops: int
    """Floating-point operations of one step of the entry `matmul`."""
    training: tuple[Comparison, ...]
    """Training steps, one comparison for each network."""
    augmentation: tuple[Comparison, ...] = ()
    """Augmentation alone, one comparison for each list of operations."""
    skipped: tuple[str, ...] = ()
    """Entries that failed to start, with the reason."""


class Ratio(NamedTuple):
    """The median, minimum and maximum of the ratios of all rounds."""

    median: float
    minimum: float
    maximum: float


def ratio(numerators: list[float], denominators: list[float]) -> Ratio:
    """Divide round by round, so that a slow phase of the machine affects both values."""
    values = [upper / lower for upper, lower in zip(numerators, denominators, strict=True)]
    return Ratio(median(values), min(values), max(values))


def machine(environment: Environment) -> str:
    """The GPU, or the processor and the number of threads."""
    if environment.device.startswith("cpu"):
        return f"{environment.processor}, {environment.threads} threads"
    return environment.device


def measured_on(environment: Environment) -> str:
    """The machine, the version of torch and the date."""
    torch_version = environment.packages["torch"]
    return f"{machine(environment)}, torch {torch_version}, {environment.started[:10]}"
