"""Train the published systems one after another, inside a time limit; the next call goes on.

    python benchmarks/reproduce.py                               all five, in the order of the list
    python benchmarks/reproduce.py resnet44 --minutes 9          what fits in nine minutes
    python benchmarks/reproduce.py resnet26w --until-epoch 6     the first six of its 70 epochs

Every system is a run in HOME/SYSTEM-seed-S; a finished one is passed over, a stopped one goes on
exactly where it was saved. On a GPU networks are compiled and convolutions run in bfloat16; on a
CPU recipes run as they are. Each run's files without checkpoints are copied to OUT, as a record.

On a machine with torch but without a network, residua needs these wheels besides what torch
brings: pydantic, pydantic-core, annotated-types, typing-inspection, cyclopts, docstring-parser,
rich-rst, attrs. `PYTHONPATH=src` then stands in for an installation.
"""

import argparse
import shutil
import time
from pathlib import Path

import torch

from residua.console import console, show
from residua.recipe_forms import resolve
from residua.report import write_report
from residua.run import Run
from residua.schedule import Clock
from residua.training import Finished, resume, train

SYSTEMS = ("resnet44", "resnet44v2", "resnet26w", "resnet34", "wrn28_10")
ON_A_GPU = ("--precision", "bfloat16", "--compile", "true")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("systems", nargs="*", choices=[*SYSTEMS, []], default=list(SYSTEMS))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--until-epoch", type=int, help="stop each system after this epoch")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N - 1 of each system")
    parser.add_argument("--home", type=Path, default=Path("runs/reproduce"), help="where runs are")
    parser.add_argument("--out", type=Path, help="where to copy logs and reports")
    return parser.parse_args()


def reproduce(system: str, seed: int, asked: argparse.Namespace, deadline: float) -> bool:
    """Train one system as far as time allows; whether time is left."""
    path = asked.home / f"{system}-seed-{seed}"
    if (path / "result.json").is_file():
        console.print(f"{path} is finished.")
        return True

    def until(clock: Clock) -> bool:
        enough = asked.until_epoch is not None and clock.epoch >= asked.until_epoch
        return enough or time.monotonic() >= deadline

    if (path / "recipe.json").is_file():
        events = resume(path, until)
    else:
        fast = ON_A_GPU if torch.cuda.is_available() else ()
        events = train(resolve(system, ["--seed", str(seed), *fast]), path, until)
    end = show(events)
    run = Run.open(path)
    console.print(str(write_report(run)))
    if asked.out is not None:
        shutil.copytree(
            path,
            asked.out / path.name,
            ignore=shutil.ignore_patterns("checkpoints"),
            dirs_exist_ok=True,
        )
    return isinstance(end, Finished) or time.monotonic() < deadline


def main() -> None:
    """Train every system of every seed, in order, until time is over."""
    asked = arguments()
    deadline = time.monotonic() + 60 * asked.minutes
    for seed in range(asked.seeds):
        for system in asked.systems:
            if not reproduce(system, seed, asked, deadline):
                return


if __name__ == "__main__":
    main()
