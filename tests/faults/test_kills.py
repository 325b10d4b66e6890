"""Trainings that are killed at any moment end as if they had not been; `--kills 50`: 50 times."""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from equal_runs import assert_equal_runs
from processes import EPOCHS, STEPS, Process, following, residua, write_recipe

MOMENTS = ("checkpoint", "evaluation", "log", "step", "twice", "anywhere")
landed: Counter[str] = Counter()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(metafunc.config.getoption("kills")))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """A run that nothing happened to, its recipe, and the seconds from start to end."""
    home = tmp_path_factory.mktemp("undisturbed")
    recipe = write_recipe(home / "recipe.json")
    started = time.monotonic()
    process = following(home / "run", recipe)
    assert process.end() == 0
    assert process.heard[-1] == "Finished"
    return home / "run", recipe, time.monotonic() - started


def killed(moment: str, process: Process, draw: random.Random, whole: float) -> str:
    """Kill a training at a moment of a kind; what it came into."""
    epoch = draw.randrange(EPOCHS)
    step = epoch * STEPS + draw.randint(1, STEPS)
    last = (epoch + 1) * STEPS
    if moment == "anywhere":
        due = time.monotonic() + draw.uniform(0.2, 1) * whole
        process.wait_for(lambda: time.monotonic() >= due)
    elif moment == "checkpoint":
        process.wait_for(lambda: process.took(last) and process.writes_checkpoint())
    elif moment == "log":
        process.wait_for(lambda: process.logged() > epoch)
    else:
        process.wait_for(lambda: process.took(last if moment == "evaluation" else step))
        time.sleep(draw.uniform(0, 0.02))
    process.kill()
    return process.interrupted()


def test_a_killed_training_ends_as_if_nothing_had_happened(
    number: int, undisturbed: tuple[Path, Path, float], tmp_path: Path
) -> None:
    whole, recipe, seconds = undisturbed
    run, draw, moment = tmp_path / "run", random.Random(number), MOMENTS[number % len(MOMENTS)]
    landed[killed(moment, following(run, recipe), draw, seconds)] += 1
    if not (run / "recipe.json").is_file():
        assert following(run, recipe).end() == 0
    elif moment == "twice":
        killed("anywhere", following(run), draw, seconds)
    done = residua("resume", run)
    assert done.returncode == 0, done.stderr
    assert_equal_runs(whole, run)


def test_the_kills_came_at_every_moment(request: pytest.FixtureRequest) -> None:
    """That the suite kills where it says; `make faults` shows the count."""
    if sum(landed.values()) < 4 * len(MOMENTS):
        pytest.skip("too few kills in this process to tell: `make faults` makes 50")
    print(f"{sum(landed.values())} kills, all resumed bit for bit: {dict(landed)}")
    assert {"step", "evaluation", "checkpoint", "log"} <= landed.keys()


def test_sigterm_saves_and_exits_0_within_seconds(
    undisturbed: tuple[Path, Path, float], tmp_path: Path
) -> None:
    whole, recipe, _ = undisturbed
    run = tmp_path / "run"
    process = Process(run, "-m", "residua", "train", recipe, "--dir", run)
    process.wait_for(lambda: process.logged() > 0)
    asked = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    assert process.end() == 0
    assert time.monotonic() - asked < 30
    assert f"residua resume {run}" in " ".join(process.heard)
    assert 0 < process.logged() < EPOCHS
    assert residua("resume", run).returncode == 0
    assert_equal_runs(whole, run)
