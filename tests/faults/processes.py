"""Trainings in processes of their own: observed from outside, killed, and resumed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
"""One thread: the same arithmetic everywhere, and two trainings do not compete for cores."""
STEPS = 8
"""Of an epoch of RECIPE."""
EPOCHS = 4
RECIPE = {
    "name": "faulty",
    "data": {"kind": "shapes100", "train": 50 * STEPS, "test": 500},
    "augmentation": [{"kind": "crop"}, {"kind": "flip"}, {"kind": "cutmix"}],
    "architecture": {
        "stem": {"kind": "conv", "width": 8},
        "depths": [1, 1, 1],
        "widths": [8, 16, 256],
        "strides": [2, 2, 2],
        "dropout": 0.1,
    },
    "optimizer": {"kind": "sgd", "lr": {"kind": "cosine", "start": 0.05}, "nesterov": True},
    "weight_average": {"kind": "ema", "decay": 0.9},
    "epochs": EPOCHS,
    "batch_size": 50,
    "device": "cpu",
}
"""Many features at once. The last stage is wide, so that writing a checkpoint takes a moment."""


class Process:
    """A training whose output and files are observed from outside."""

    def __init__(self, run: Path, *arguments: object) -> None:
        self.run, self.output = run, list[str]()
        command = [sys.executable, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self.reader = threading.Thread(target=self._read_output)
        self.reader.start()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.output.extend(line.strip() for line in lines)

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        self.reader.join()
        return self.process.wait()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Check every half millisecond until the condition holds or the process has ended."""
        while self.process.poll() is None and not condition():
            time.sleep(0.0005)

    def has_taken(self, step: int) -> bool:
        return str(step) in self.output

    def is_writing(self, pattern: str) -> bool:
        """Whether a file of the run is partly written, or was when the process was killed."""
        return any(self.run.glob(pattern))

    def logged_epochs(self) -> int:
        log = self.run / "log.jsonl"
        return log.read_bytes().count(b"\n") if log.is_file() else 0

    def kill(self) -> None:
        """SIGKILL, which no program can catch."""
        self.process.kill()
        assert self.wait() in (-signal.SIGKILL, 0)

    def interrupted_phase(self) -> str:
        """The phase in which the process was killed, from its output and its files."""
        steps = [int(line) for line in self.output if line.isdigit()]
        epochs, step_in_epoch = divmod(max(steps, default=0), STEPS)
        saved = self.run / f"checkpoints/step-{epochs * STEPS:08d}.safetensors"
        phases = {
            "start": not (self.run / "recipe.json").is_file(),
            "checkpoint": self.is_writing(PARTIAL_CHECKPOINT),
            "model": self.is_writing(PARTIAL_MODEL),
            "step": step_in_epoch > 0 or not steps,
            "evaluation": self.logged_epochs() < epochs,
            "log": not saved.is_file(),
            "end": epochs == EPOCHS,
        }
        return next((phase for phase, interrupted in phases.items() if interrupted), "step")


PARTIAL_CHECKPOINT = "checkpoints/.*.partial"
PARTIAL_MODEL = ".model*.partial"


def start_training(run: Path, recipe: Path | None = None) -> Process:
    """Train or, without a recipe, resume, and print every event."""
    script = Path(__file__).with_name("print_events.py")
    return Process(run, script, run, *([recipe] if recipe else []))


def write_recipe(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps(RECIPE | changes))
    return path


def run_cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process."""
    command = [sys.executable, "-m", "residua", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env=ENVIRONMENT
    )
