"""What a training ran on: versions, hardware, state of the source."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from residua.devices import describe_device

PACKAGES = ("residua", "torch", "numpy", "pydantic", "safetensors")
DECISIVE = ("processor", "device")
"""Besides torch: what a sum's order, and so its last bit, may depend on."""


def environment(device: torch.device, seed: int) -> dict[str, Any]:
    """Versions, hardware, git state and seed, as JSON can hold them."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": describe_device(device),
        "cuda": torch.version.cuda,
        "git": _git(),
        "seed": seed,
    }


def environment_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What decides over the bits of a training, and is not as it was."""
    packages = [each.get("packages", {}).get("torch") for each in (before, now)]
    values = {"torch": packages} | {name: [before.get(name), now.get(name)] for name in DECISIVE}
    return [f"{name} is {new}, was {old}" for name, (old, new) in values.items() if old != new]


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


def _git() -> dict[str, Any] | None:
    """Commit of the source that residua runs from, and whether it was changed since."""

    def ask(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return {
            "commit": ask("rev-parse", "HEAD"),
            "changed": bool(ask("status", "--porcelain", "-uno")),
        }
    except (OSError, subprocess.SubprocessError):
        return None
