"""What a training runs on: versions, hardware, and the state of the source."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from residua.devices import describe_device
from residua.runs.records import GitState, RunEnvironment

PACKAGES = ("residua", "torch", "numpy", "pydantic", "safetensors")


def collect_environment(device: torch.device, seed: int) -> RunEnvironment:
    """Versions, hardware, git state and seed of this process."""
    return RunEnvironment(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=(Path(sys.argv[0]).name, *sys.argv[1:]),
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        device=describe_device(device),
        cuda=torch.version.cuda,
        git=_git_state(),
        seed=seed,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
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
