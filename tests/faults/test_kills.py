"""Trainings killed at any moment end as if they had not been; `--kills 50` kills 50 times."""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from equal_runs import assert_equal_runs
from processes import (
    EPOCHS,
    PARTIAL_CHECKPOINT,
    PARTIAL_MODEL,
    STEPS,
    Process,
    run_cli,
    start_training,
    write_recipe,
)

MOMENTS = ("checkpoint", "evaluation", "model", "log", "step", "twice", "anywhere")
kills_by_phase: Counter[str] = Counter()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(metafunc.config.getoption("kills")))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """A run that was never killed, its recipe, and its duration in seconds."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    recipe = write_recipe(directory / "recipe.json")
    started = time.monotonic()
    process = start_training(directory / "run", recipe)
    assert process.wait() == 0
    assert process.output[-1] == "Finished"
    return directory / "run", recipe, time.monotonic() - started


def kill_at(moment: str, process: Process, rng: random.Random, duration: float) -> str:
    """Kill a training at a kind of moment; return the phase that was interrupted."""
    epoch = rng.randrange(EPOCHS)
    step = epoch * STEPS + rng.randint(1, STEPS)
    last = (epoch + 1) * STEPS
    if moment == "anywhere":
        deadline = time.monotonic() + rng.uniform(0.2, 1) * duration
        process.wait_for(lambda: time.monotonic() >= deadline)
    elif moment == "checkpoint":
        process.wait_for(lambda: process.has_taken(last) and process.is_writing(PARTIAL_CHECKPOINT))
    elif moment == "model":
        process.wait_for(lambda: process.has_taken(last) and process.is_writing(PARTIAL_MODEL))
    elif moment == "log":
        process.wait_for(lambda: process.logged_epochs() > epoch)
    else:
        process.wait_for(lambda: process.has_taken(last if moment == "evaluation" else step))
        time.sleep(rng.uniform(0, 0.02))
    process.kill()
    return process.interrupted_phase()


def test_killed_training_ends_as_if_it_was_never_killed(
    number: int, uninterrupted: tuple[Path, Path, float], tmp_path: Path
) -> None:
    expected, recipe, duration = uninterrupted
    run, rng, moment = tmp_path / "run", random.Random(number), MOMENTS[number % len(MOMENTS)]
    kills_by_phase[kill_at(moment, start_training(run, recipe), rng, duration)] += 1
    if not (run / "recipe.json").is_file():
        assert start_training(run, recipe).wait() == 0
    elif moment == "twice":
        kill_at("anywhere", start_training(run), rng, duration)
    resumed = run_cli("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert_equal_runs(expected, run)


def test_kills_hit_every_phase() -> None:
    """The suite kills where it claims to; `make faults` prints the counts."""
    if sum(kills_by_phase.values()) < 4 * len(MOMENTS):
        pytest.skip("too few kills in this process to tell: `make faults` makes 50")
    print(f"{sum(kills_by_phase.values())} kills, all resumed bit for bit: {dict(kills_by_phase)}")
    assert {"step", "evaluation", "checkpoint", "log"} <= kills_by_phase.keys()


def test_sigterm_saves_and_exits_0_within_seconds(
    uninterrupted: tuple[Path, Path, float], tmp_path: Path
) -> None:
    expected, recipe, _ = uninterrupted
    run = tmp_path / "run"
    process = Process(run, "-m", "residua", "train", recipe, "--dir", run)
    process.wait_for(lambda: process.logged_epochs() > 0)
    started = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert time.monotonic() - started < 30
    assert f"residua resume {run}" in " ".join(process.output)
    assert 0 < process.logged_epochs() < EPOCHS
    assert run_cli("resume", run).returncode == 0
    assert_equal_runs(expected, run)
