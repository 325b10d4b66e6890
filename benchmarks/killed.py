"""Train each published system twice, kill the second training with SIGKILL, resume it, and compare.

    python benchmarks/killed.py FOLDER                 all five systems, 200 steps each
    python benchmarks/killed.py FOLDER resnet44        one of them

Each training takes two epochs of 800 images in batches of 8. The second one is killed in the middle
of its second epoch, so that it has a checkpoint and loses some steps. At the end both runs have to
be equal bit for bit: checkpoints, log, result and artifacts, apart from measured times and memory.
Exits with 1 if they are not.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

from equal_runs import difference

from residua import Run, fit, resolve, resume
from residua.reports import write_report

SYSTEMS = ("resnet44", "resnet44v2", "resnet26w", "resnet34", "wrn28_10")
SHORT = ("--data.limit", "800", "--batch-size", "8", "--epochs", "2")


def train_and_kill(system: str, path: Path) -> int:
    """Train in a new process and kill it in the middle of the second epoch; its exit status."""
    command = [sys.executable, "-m", "residua", "train", system, *SHORT, "--dir", str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as training:
        while not ((path / "log.jsonl").is_file() and Run.open(path).checkpoints):
            time.sleep(0.2)
            if training.poll() is not None:
                raise SystemExit(f"{system} ended before it could be killed")
        time.sleep(Run.open(path).log[0].seconds / 2)
        training.send_signal(signal.SIGKILL)
    return training.returncode


def main(folder: Path, systems: tuple[str, ...]) -> int:
    """Test all systems; the number of those whose runs differ."""
    failures = 0
    for system in systems:
        whole, killed = folder / system, folder / f"{system}-killed"
        fit(resolve(system, SHORT), whole)
        status = train_and_kill(system, killed)
        checkpoint = Run.open(killed).checkpoints[-1].name
        list(resume(killed))
        found = difference(whole, killed)
        for run in (whole, killed):
            write_report(Run.open(run))
        steps = Run.open(whole).log[-1].step
        verdict = f"DIFFERENT: {found}" if found else "equal bit for bit"
        print(
            f"{system}: {steps} steps; killed (status {status}) after {checkpoint}, resumed: "
            f"{verdict}",
            flush=True,
        )
        failures += found is not None
    return failures


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]), tuple(sys.argv[2:]) or SYSTEMS)))
