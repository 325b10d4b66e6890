"""Train the published systems one after another, inside a time limit; the next call goes on.

    make reproduce                                          all of them, in the order of the list
    python benchmarks/reproduce.py resnet44 --minutes 9     as far as nine minutes allow
    python benchmarks/reproduce.py resnet26w --epochs 6     the first six of its 70 epochs
    python benchmarks/reproduce.py resnet44 -- --device cpu --data.limit 64     with overrides

Every system is a run in HOME/SYSTEM-seed-S; a finished one is passed over, a stopped or killed one
goes on exactly where it was saved. On a GPU networks are compiled and convolutions run in bfloat16;
on a CPU recipes run as they are. Where OUT is given, each run is packed there as a .tar.gz without
its checkpoints: recipe, environment, log and report, which is what a record holds.

docs/reproduce.md says how to carry this to a machine without a network.
"""

import argparse
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from residua.cli.console import console, show, show_result, stop_requests
from residua.cli.live_report import LiveReport
from residua.errors import UserError
from residua.recipes.loading import resolve
from residua.reports import write_report
from residua.runs.run import Run
from residua.schedules import TrainingProgress
from residua.training.events import Finished
from residua.training.loop import resume, train

SYSTEMS = ("resnet44", "resnet44v2", "resnet26w", "resnet34", "wrn28_10", "resnet44v2_run1")
ON_A_GPU = ("--precision", "bfloat16", "--compile", "true")


def parser() -> argparse.ArgumentParser:
    """What the command line takes, but for the overrides after `--`."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("systems", nargs="*", metavar="SYSTEM", help=", ".join(SYSTEMS))
    made.add_argument("--epochs", type=int, help="stop each after so many epochs of its plan")
    made.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    made.add_argument("--seeds", type=int, default=1, help="seeds 0 to N - 1 of each system")
    made.add_argument("--home", type=Path, default=Path("runs/reproduce"), help="where runs are")
    made.add_argument("--out", type=Path, help="where to pack logs and reports")
    return made


def reproduce(
    system: str, seed: int, overrides: Sequence[str], asked: argparse.Namespace, deadline: float
) -> bool:
    """Train one system as far as it is asked for; whether to go on with the next one."""
    path = asked.home / f"{system}-seed-{seed}"
    if (path / "result.json").is_file():
        console.print(f"{path} is finished.")
        return True

    with stop_requests() as stop:

        def should_stop(clock: TrainingProgress) -> bool:
            enough = asked.epochs is not None and clock.epoch >= asked.epochs
            return enough or bool(stop) or time.monotonic() >= deadline

        if (path / "recipe.json").is_file():
            events = resume(path, should_stop)
        else:
            fast = ON_A_GPU if torch.cuda.is_available() else ()
            recipe = resolve(system, ["--seed", str(seed), *fast, *overrides])
            events = train(recipe, path, should_stop)
        end = show(events, LiveReport())
    if isinstance(end, Finished):
        show_result(end.result)
    else:
        console.print(f"Saved after step {end.step:,}.")
    console.print(str(write_report(Run.open(path))))
    if asked.out is not None:
        pack(path, asked.out / f"{path.name}.tar.gz")
    return not stop and time.monotonic() < deadline


def pack(run: Path, archive: Path) -> None:
    """A run without its checkpoints as one file."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as file:
        file.add(run, run.name, filter=lambda each: None if "checkpoints" in each.name else each)


def main(words: Sequence[str]) -> None:
    """Train every system of every seed, in order, until time is over."""
    cut = words.index("--") if "--" in words else len(words)
    made = parser()
    asked = made.parse_args(words[:cut])
    deadline = time.monotonic() + 60 * asked.minutes
    try:
        for seed in range(asked.seeds):
            for system in asked.systems or SYSTEMS:
                if not reproduce(system, seed, words[cut + 1 :], asked, deadline):
                    return
    except UserError as error:
        made.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
