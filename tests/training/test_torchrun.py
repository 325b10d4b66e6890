"""Trainings that torchrun starts, stops and starts again, as commands."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import elastic
import pytest
from equal_runs import assert_equal_runs

from residua.runs.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and a run of it on two ranks that nobody disturbed."""
    folder = tmp_path_factory.mktemp("torchrun")
    (folder / "recipe.json").write_text(json.dumps(elastic.RECIPE))
    command = elastic.command(folder / "recipe.json", folder / "undisturbed", 2, 0)
    assert elastic.train(command, folder / "undisturbed.log").wait() == 0
    return folder


def test_one_process_prints(folder: Path) -> None:
    output = (folder / "undisturbed.log").read_text()
    assert output.count("elastic starts: 8 epochs of 320 images on 2 x cpu") == 1
    assert output.count("EPOCH: 8/8") == 1
    assert output.splitlines()[-1] == str(folder / "undisturbed/report/report.html")
    assert Run.open(folder / "undisturbed").environment.ranks == 2


@pytest.mark.parametrize("number", [3, 10])
def test_killed_workers_are_restarted_and_the_training_ends_equal(
    folder: Path, number: int
) -> None:
    equal, message = elastic.trial(folder, number, ranks=2, kills=2)
    assert equal, message


def test_sigterm_is_saved_and_the_same_command_continues(folder: Path) -> None:
    """As a scheduler does: SIGTERM to torchrun, and the same command later."""
    run, log = folder / "terminated", folder / "terminated.log"
    command = elastic.command(folder / "recipe.json", run, 2, 0)
    process = elastic.train(command, log)
    while elastic.epochs(run) < 2:
        time.sleep(0.01)
        assert process.poll() is None, log.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 1  # torchrun's own status; its workers end with 0
    assert "Saved after step" in log.read_text()
    step = int(Run.open(run).checkpoints[-1].stem[5:])
    assert f"Saved after step {step}" in log.read_text()
    assert Run.open(run).result is None
    for ending in ("elastic continues at step", "is finished"):
        assert elastic.train(command, log).wait() == 0, log.read_text()
        assert ending in log.read_text()
    assert_equal_runs(folder / "undisturbed", run)


def test_another_recipe_in_the_directory_is_refused(folder: Path) -> None:
    command = elastic.command(folder / "recipe.json", folder / "undisturbed", 1, 0)
    done = subprocess.run([*command, "--seed", "7"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is a run of another recipe: `residua resume`, or another --dir\n" in done.stderr


def test_restarts_need_a_directory(tmp_path: Path) -> None:
    environment = os.environ | {"TORCHELASTIC_MAX_RESTARTS": "1"}  # as torchrun's workers have it
    done = subprocess.run(
        [sys.executable, "-m", "residua", "train", "quickstart"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("residua: --max-restarts needs --dir: ")
    assert not list(tmp_path.iterdir())


def test_requeued_job_continues_its_run(tmp_path: Path) -> None:
    """Slurm counts the starts of a requeued job."""
    words = ["train", "quickstart", "--dir", str(tmp_path / "run"), "--data.train", "200"]
    words += ["--data.test", "100", "--epochs", "2", "--architecture.widths", "[4, 4, 8]"]
    command = [sys.executable, "-m", "residua", *words]
    subprocess.run([*command, "--until-epoch", "1"], check=True, capture_output=True)
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "is a run already" in refused.stderr
    environment = os.environ | {"SLURM_RESTART_COUNT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "continues at step 2" in done.stdout
    assert Run.open(tmp_path / "run").result is not None
