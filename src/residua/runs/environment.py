"""What a training runs on: versions, hardware, and the state of the source."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

import torch

from residua.devices import describe_device
from residua.errors import escaped
from residua.runs.records import Count, JsonFile, Positive

RANKS = "the number of processes (which changes neither batches nor augmentation)"
PACKAGES = ("residua", "torch", "numpy", "pydantic", "safetensors")


class GitState(JsonFile):
    """The commit of the source, and whether tracked files were changed since."""

    commit: str = ""
    changed: bool = False


class Environment(JsonFile):
    """What a training runs on."""

    started: str = ""
    """ISO 8601, UTC."""
    command: tuple[str, ...] = ()
    python: str = ""
    packages: dict[str, str | None] = {}
    system: str = ""
    processor: str = ""
    cores: int | None = None
    threads: int | None = None
    device: str = ""
    cuda: str | None = None
    git: GitState | None = None
    seed: int | None = None
    ranks: Positive = 1
    """Processes that train together."""
    from_step: Count = 0
    """The step from which on the training ran here."""


class RunEnvironment(Environment):
    """environment.json: where a run was started, and where it was resumed if that differs."""

    resumed: tuple[Environment, ...] = ()
    """Those that can have changed bits, oldest first."""

    @property
    def latest(self) -> Environment:
        """Where the run was resumed last, or else started."""
        return self.resumed[-1] if self.resumed else self

    @property
    def changes(self) -> tuple[str, ...]:
        """The changes that can have changed bits, in words: from which step, and what."""
        return tuple(
            f"from step {after.from_step:,}: {'; '.join(environment_changes(before, after))}"
            for before, after in pairwise((self, *self.resumed))
        )

    def until(self, step: int) -> "RunEnvironment":
        """The history of the steps up to this one: later ones are repeated after a resumption."""
        return self.replace(resumed=tuple(each for each in self.resumed if each.from_step < step))

    def resumed_by(self, environment: Environment, step: int) -> "RunEnvironment":
        """The history with the environment that continues from a step."""
        fields = environment.model_dump(exclude={"resumed"})
        latest = Environment.model_validate(fields | {"from_step": step})
        return self.replace(resumed=(*self.resumed, latest))


def environment_changes(before: Environment, now: Environment) -> list[str]:
    """The differences that can change a training's bits, in words.

    Besides torch's version, the processor and the device (with its number of threads) decide about
    the order of sums, and so about their last bits.
    """
    compared = {
        "torch": (before.packages.get("torch"), now.packages.get("torch")),
        "processor": (before.processor, now.processor),
        "device": (before.device, now.device),
        RANKS: (before.ranks, now.ranks),
    }
    return [f"{name} is {new}, was {old}" for name, (old, new) in compared.items() if old != new]


def collect_environment(device: torch.device, seed: int, ranks: int = 1) -> RunEnvironment:
    """Versions, hardware, git state and seed of this process, one of several ranks."""
    return RunEnvironment(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=tuple(map(escaped, (Path(sys.argv[0]).name, *sys.argv[1:]))),
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        device=describe_device(device),
        cuda=torch.version.cuda,
        git=_git_state(),
        seed=seed,
        ranks=ranks,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor_name() -> str:
    """The model of the processor, as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _git_state() -> GitState | None:
    """The commit of the source that residua runs from, and whether it was changed since."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        changed = bool(git("status", "--porcelain", "-uno"))
        return GitState(commit=git("rev-parse", "HEAD"), changed=changed)
    except (OSError, subprocess.SubprocessError):
        return None
