"""Kill workers of a training that torchrun restarts, and compare it with one that nobody killed.

    python benchmarks/elastic.py FOLDER                        20 trainings, 2 ranks, 2 kills each
    python benchmarks/elastic.py FOLDER --trials 3 --ranks 3 --kills 1

Each kill (SIGKILL) hits a random rank at a random moment: while the processes start, in a step, an
evaluation or a checkpoint. Every training has to end, and to be equal bit for bit to the first one,
apart from measured times and memory. Exits with 1 if one is not.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from equal_runs import difference

RECIPE = {
    "name": "elastic",
    "data": {"kind": "shapes100", "train": 320, "test": 200},
    "augmentation": [{"kind": "crop"}, {"kind": "flip"}, {"kind": "cutmix"}],
    "architecture": {
        "stem": {"kind": "conv", "width": 4},
        "depths": [1, 1],
        "widths": [4, 8],
        "dropout": 0.1,
    },
    "optimizer": {"kind": "sgd", "lr": {"kind": "cosine", "start": 0.1}, "nesterov": True},
    "weight_average": {"kind": "ema", "decay": 0.9},
    "epochs": 8,
    "batch_size": 33,
    "device": "cpu",
}
"""Batches that two and three ranks share unevenly; batch norm with local statistics."""


def command(recipe: Path, run: Path, ranks: int, restarts: int) -> list[str]:
    """The command that trains on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", str(ranks), "--max-restarts", str(restarts)]
    return [*launcher, "-m", "residua", "train", str(recipe), "--dir", str(run)]


def train(words: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a training that writes its output to a file."""
    with log.open("wb") as output:
        return subprocess.Popen(
            words,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def workers(process: "subprocess.Popen[bytes]") -> list[int]:
    """The processes that torchrun has started and that live."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in children.read_text().split()] if children.exists() else []


def epochs(run: Path) -> int:
    """Finished epochs of a run, which may not exist yet."""
    log = run / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def kill_one(process: "subprocess.Popen[bytes]", run: Path, rng: random.Random) -> str | None:
    """Kill a random worker at a random moment; say when. None if the training ended before."""
    if rng.random() < 0.2:
        delay, epoch = rng.uniform(0, 12), 0
    else:
        delay, epoch = rng.uniform(0, 2), rng.randrange(RECIPE["epochs"])
    while process.poll() is None and not (workers(process) and epochs(run) >= epoch):
        time.sleep(0.01)
    time.sleep(delay)
    alive = workers(process)
    if process.poll() is not None or not alive:
        return None
    victim = rng.randrange(len(alive))
    before = epochs(run)
    os.kill(alive[victim], signal.SIGKILL)
    while process.poll() is None and alive[victim] in workers(process):
        time.sleep(0.05)
    return f"worker {victim} after epoch {before}"


def trial(folder: Path, number: int, ranks: int, kills: int) -> tuple[bool, str]:
    """One training with kills; whether it equals the undisturbed one, and what happened."""
    rng = random.Random(number)
    run = folder / f"killed-{number:02d}"
    words = command(folder / "recipe.json", run, ranks, kills)
    process = train(words, folder / f"killed-{number:02d}.log")
    moments = [kill_one(process, run, rng) for _ in range(kills)]
    status = process.wait()
    found = difference(folder / "undisturbed", run) if status == 0 else f"exit status {status}"
    verdict = "equal bit for bit" if found is None else f"DIFFERENT: {found}"
    happened = "; ".join(moment for moment in moments if moment) or "ended before a kill"
    return found is None, f"{verdict} ({happened})"


def main(folder: Path, trials: int, ranks: int, kills: int) -> int:
    """Run all trials; the number of those that failed."""
    folder.mkdir(parents=True)
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    undisturbed = folder / "undisturbed"
    if train(command(recipe, undisturbed, ranks, 0), folder / "undisturbed.log").wait():
        raise SystemExit((folder / "undisturbed.log").read_text())
    equal = 0
    for number in range(trials):
        succeeded, message = trial(folder, number, ranks, kills)
        equal += succeeded
        print(f"{number + 1:2d}: {message}", flush=True)
    print(f"{equal} of {trials} trainings on {ranks} ranks equal the undisturbed one")
    return trials - equal


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--kills", type=int, default=2)
    arguments = parser.parse_args()
    sys.exit(bool(main(arguments.folder, arguments.trials, arguments.ranks, arguments.kills)))
