"""Train the published systems one after another within a time limit; the next call continues.

    make reproduce                                          all systems
    python benchmarks/reproduce.py resnet44 --minutes 9     as far as nine minutes allow
    python benchmarks/reproduce.py resnet26w --epochs 6     the first six of its 70 epochs
    python benchmarks/reproduce.py resnet44 -- --device cpu --data.limit 64     with overrides

Each run is in HOME/SYSTEM-seed-S. A finished run is skipped; a stopped or killed one continues
exactly where it was saved. On a GPU networks are compiled and convolutions run in bfloat16; on a
CPU recipes are used unchanged. With --out each run is packed as a .tar.gz without its checkpoints:
recipe, environment, log and report, which is what a record contains.

docs/reproduce.md describes how to use it on a machine without a network connection.
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
GPU_OVERRIDES = ("--precision", "bfloat16", "--compile", "true")


def argument_parser() -> argparse.ArgumentParser:
    """The command line, without the overrides after `--`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=", ".join(SYSTEMS))
    parser.add_argument("--epochs", type=int, help="stop each system after this epoch of its plan")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="the time limit")
    parser.add_argument("--seeds", type=int, default=1, help="train seeds 0 to SEEDS - 1")
    parser.add_argument("--home", type=Path, default=Path("runs/reproduce"), help="where runs are")
    parser.add_argument("--out", type=Path, help="where to pack logs and reports")
    return parser


def reproduce(
    system: str, seed: int, overrides: Sequence[str], options: argparse.Namespace, deadline: float
) -> bool:
    """Train one system as far as requested; whether to continue with the next one."""
    path = options.home / f"{system}-seed-{seed}"
    if (path / "result.json").is_file():
        console.print(f"{path} is finished.")
        return True

    with stop_requests() as signals:

        def should_stop(progress: TrainingProgress) -> bool:
            enough = options.epochs is not None and progress.epoch >= options.epochs
            return enough or bool(signals) or time.monotonic() >= deadline

        if (path / "recipe.json").is_file():
            events = resume(path, should_stop)
        else:
            gpu_overrides = GPU_OVERRIDES if torch.cuda.is_available() else ()
            recipe = resolve(system, ["--seed", str(seed), *gpu_overrides, *overrides])
            events = train(recipe, path, should_stop)
        end = show(events, LiveReport())
    if isinstance(end, Finished):
        show_result(end.result, path)
    else:
        console.print(f"Saved after step {end.step:,}.")
    console.print(str(write_report(Run.open(path))))
    if options.out is not None:
        pack(path, options.out / f"{path.name}.tar.gz")
    return not signals and time.monotonic() < deadline


def pack(run: Path, archive: Path) -> None:
    """Write a run without its checkpoints to an archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as file:
        file.add(run, run.name, filter=lambda each: None if "checkpoints" in each.name else each)


def main(arguments: Sequence[str]) -> None:
    """Train all systems with all seeds until the time limit."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argument_parser()
    options = parser.parse_args(arguments[:end])
    deadline = time.monotonic() + 60 * options.minutes
    try:
        for seed in range(options.seeds):
            for system in options.systems or SYSTEMS:
                if not reproduce(system, seed, arguments[end + 1 :], options, deadline):
                    return
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
