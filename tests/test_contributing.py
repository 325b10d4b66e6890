"""CONTRIBUTING.md: its examples are applied to a copy of the package, and trained with."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(python|diff)\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
"""Language, file and text of each example: new code, or an edit."""
COMMANDS = re.findall(r"^    residua train (.*)$", PAGE, re.MULTILINE)

CHECK_ALL = """
import shlex, sys
import torch
import residua
from residua.schedules import Polynomial, TrainingProgress

optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
expected = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=20, power=2.0)
for step in range(20):
    value = Polynomial(start=0.3, power=2.0)(TrainingProgress(step, 20, 5))
    assert abs(value - expected.get_last_lr()[0]) < 1e-12
    optimizer.step()
    expected.step()

commands = [shlex.split(line) for line in sys.argv[1:]]
for name, *words in commands:
    assert residua.resolve(name, words) != residua.resolve(name), words
overrides = [word for _, *words in commands for word in words]
tiny = ["--data.train", "256", "--data.test", "100", "--batch-size", "64", "--epochs", "2"]
recipe = residua.resolve("quickstart_wide", [*overrides, *tiny, "--device", "cpu"])
whole = residua.fit(recipe, "whole")
for _ in residua.train(recipe, "resumed", lambda progress: progress.step == 3):
    pass
for _ in residua.resume("resumed"):
    pass
resumed = residua.Run.open(whole.path.with_name("resumed"))
assert resumed.recipe == whole.recipe == recipe
losses = [[record.train_loss for record in run.log] for run in (whole, resumed)]
assert losses[0] == losses[1] and len(losses[0]) == 2
models = [(run.path / "model.safetensors").read_bytes() for run in (whole, resumed)]
assert models[0] == models[1]
print(residua.evaluate(resumed).accuracy == resumed.result.best.test_accuracy)
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package to which all examples were applied."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for language, name, text in EXAMPLES:
        path = folder / name
        if language == "diff":
            edit(path, text)
        elif path.exists():
            insert_above_union(path, text)
        else:
            path.write_text(text, encoding="utf-8")
    return folder


def edit(path: Path, diff: str) -> None:
    """Replace the old lines of a diff by its new lines."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} does not contain:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def insert_above_union(path: Path, code: str) -> None:
    """Insert a class above the last union of a module."""
    text = path.read_text(encoding="utf-8")
    before, after = re.split(r"^(?=(?:Block|Schedule) = )", text, flags=re.MULTILINE)
    path.write_text(f"{before}{code}\n\n{after}", encoding="utf-8")


def run_python(folder: Path, *words: str) -> str:
    """Run Python with the extended package; returns the output."""
    environment = os.environ | {
        "PYTHONPATH": str(folder / "src"),
        "PYTHONWARNINGS": "error",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_extension_point_has_an_example() -> None:
    for point in ("block", "augmentation", "schedule", "optimiser", "observer", "recipe"):
        _, section = re.split(rf"^### An? {point}$", PAGE, flags=re.MULTILINE)
        assert "```python" in section.split("\n### ")[0], point
    assert len(EXAMPLES) == PAGE.count("```") // 2


def test_training_with_all_examples_resumes_exactly(extended: Path) -> None:
    commands = [command for command in COMMANDS if command != "quickstart_wide"]
    assert len(commands) == 4
    assert run_python(extended, "-c", CHECK_ALL, *commands).strip() == "True"


def test_observer_is_told_of_each_epoch(extended: Path) -> None:
    run_python(extended, "observe_accuracy.py")
    lines = (extended / "accuracy.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["1", "2"]
