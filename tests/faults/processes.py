"""Trainings in processes of their own: followed from outside, killed, and resumed."""

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
"""One thread: the same arithmetic everywhere, and two trainings do not fight for the cores."""
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
"""A little of everything; wide at the end, so that a checkpoint takes a moment to write."""


class Process:
    """A training whose output is heard, and whose files are looked at, from outside."""

    def __init__(self, run: Path, *words: object) -> None:
        self.run, self.heard = run, list[str]()
        self.process = subprocess.Popen(
            [sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        self.listener = threading.Thread(target=self._listen)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.heard.extend(line.strip() for line in lines)

    def end(self) -> int:
        """Wait for the end; the status."""
        self.listener.join()
        return self.process.wait()

    def wait_for(self, sign: Callable[[], bool]) -> None:
        """Look every half millisecond, until the sign is seen or the process has ended."""
        while self.process.poll() is None and not sign():
            time.sleep(0.0005)

    def took(self, step: int) -> bool:
        return str(step) in self.heard

    def writes_checkpoint(self) -> bool:
        return any((self.run / "checkpoints").glob(".*.partial"))

    def logged(self) -> int:
        log = self.run / "log.jsonl"
        return log.read_bytes().count(b"\n") if log.is_file() else 0

    def kill(self) -> None:
        """SIGKILL, which no program can catch."""
        self.process.kill()
        assert self.end() in (-signal.SIGKILL, 0)

    def interrupted(self) -> str:
        """What the kill came into, by what was heard and what lies on the disk."""
        steps = [int(each) for each in self.heard if each.isdigit()]
        epochs, into = divmod(max(steps, default=0), STEPS)
        if not (self.run / "recipe.json").is_file():
            return "beginning"
        if self.writes_checkpoint():
            return "checkpoint"
        if into or not steps:
            return "step"
        if self.logged() < epochs:
            return "evaluation"
        if not (self.run / f"checkpoints/step-{epochs * STEPS:08d}.safetensors").is_file():
            return "log"
        return "end" if epochs == EPOCHS else "step"


def following(run: Path, recipe: Path | None = None) -> Process:
    """Train or, without a recipe, resume, and tell every event."""
    return Process(run, Path(__file__).with_name("follow.py"), run, *([recipe] if recipe else []))


def write_recipe(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps(RECIPE | changes))
    return path


def residua(*words: object) -> subprocess.CompletedProcess[str]:
    """The command line, as a process."""
    command = [sys.executable, "-m", "residua", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env=ENVIRONMENT
    )
