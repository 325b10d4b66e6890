"""Train each published system twice, kill the second with SIGKILL, resume it, and compare.

    python benchmarks/killed.py HOME                 all five, 200 steps each
    python benchmarks/killed.py HOME resnet44        one of them

Each trains two epochs of 800 images in batches of 8. The second training is killed in the middle of
its second epoch, so that it has a checkpoint and steps that are lost. At the end the weights of the
last and the best epoch, the log (but for times and memory) and the filters kept at each epoch have
to be equal to the undisturbed training's, bit for bit. Exits 1 where they are not.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from residua import Run, resolve, resume, train
from residua.reports import write_report
from residua.runs.artifacts import filters
from residua.training.state import Record, read

SYSTEMS = ("resnet44", "resnet44v2", "resnet26w", "resnet34", "wrn28_10")
SHORT = ("--data.limit", "800", "--batch-size", "8", "--epochs", "2")
MEASURED = ("seconds", "evaluation_seconds", "images_per_second", "memory_mib")
"""What no two trainings have in common."""


def comparable(log: list[Record]) -> list[Record]:
    """A log without what is measured by the clock or the memory."""
    return [{key: each[key] for key in each if key not in MEASURED} for each in log]


def kill(system: str, path: Path) -> float:
    """Train in a process of its own, and kill it in the middle of the second epoch."""
    words = [sys.executable, "-m", "residua", "train", system, *SHORT, "--dir", str(path)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as training:
        while not ((path / "log.jsonl").is_file() and Run.open(path).saved):
            time.sleep(0.2)
            if training.poll() is not None:
                raise SystemExit(f"{system} ended before it could be killed")
        time.sleep(Run.open(path).log[0]["seconds"] / 2)
        training.send_signal(signal.SIGKILL)
    return training.returncode


def equal(one: Run, other: Run) -> dict[str, bool]:
    """What of two runs is the same, bit for bit."""
    found = {"log": comparable(one.log) == comparable(other.log)}
    for name in ("best.safetensors", one.saved[-1].name):
        weights, _ = read(one.checkpoints / name)
        again, _ = read(other.checkpoints / name)
        same = weights.keys() == again.keys()
        found[name] = same and all(torch.equal(weights[key], again[key]) for key in weights)
    kept, again = filters(one), filters(other)
    found["filters"] = kept.keys() == again.keys() and all(
        torch.equal(kept[epoch], again[epoch]) for epoch in kept
    )
    return found


def main(home: Path, systems: tuple[str, ...]) -> int:
    """Try every system; the number of those that differ."""
    failures = 0
    for system in systems:
        whole, parts = home / system, home / f"{system}-killed"
        list(train(resolve(system, SHORT), whole))
        status = kill(system, parts)
        saved = Run.open(parts).saved[-1].name
        list(resume(parts))
        found = equal(Run.open(whole), Run.open(parts))
        for run in (whole, parts):
            write_report(Run.open(run))
        steps = Run.open(whole).log[-1]["step"]
        differing = [name for name, same in found.items() if not same]
        verdict = f"DIFFERS in {', '.join(differing)}" if differing else "equal bit for bit"
        print(
            f"{system}: {steps} steps; killed (status {status}) after {saved}, resumed: {verdict} "
            f"({', '.join(found)})",
            flush=True,
        )
        failures += bool(differing)
    return failures


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]), tuple(sys.argv[2:]) or SYSTEMS)))
