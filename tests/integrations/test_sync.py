"""The recipe's `sync`: a copy of a run on another drive, from which it can be continued."""

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from equal_runs import assert_equal_runs
from fake_hub import local_tree, wait_until

from residua.integrations.observers import SyncObserver, recipe_observers
from residua.recipes.recipe import Recipe
from residua.runs import mirror
from residua.runs.outbox import Backoff, Outbox, SendError, drain
from residua.runs.run import Run
from residua.training.events import Event, Started, Stopped, observe
from residua.training.loop import resume, train


class Copier:
    """Stages what `SyncObserver` stages, and copies in this process."""

    def __init__(self, drive: Path) -> None:
        self.drive = drive
        self.observer = SyncObserver(drive, lambda _: None)
        self.observer._start = self._copy  # type: ignore[method-assign]
        self.failures: list[str] = []

    def _copy(self, run: Run) -> None:
        outbox = Outbox(run.path / mirror.FOLDER)
        copy = mirror.copy_path(self.drive, run.path)
        if not drain(outbox, lambda path: mirror.mirror(path, copy), Backoff(), lambda _: False):
            self.failures.append(outbox.status.failing)

    def __call__(self, event: Event) -> None:
        self.observer(event)


def to_end(events, *observers) -> None:
    for _ in observe(events, *observers):
        pass


def stop_at(step: int) -> Callable[..., bool]:
    return lambda progress: progress.step >= step


@pytest.mark.parametrize("step", [5, 8])
def test_training_continues_from_the_copy_alone_bit_for_bit(
    step: int, recipe: Recipe, trained: Run, tmp_path: Path
) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    copier = Copier(drive)
    to_end(train(recipe.replace(sync=drive), tmp_path / "run", stop_at(step)), copier)
    assert copier.failures == []
    shutil.rmtree(tmp_path / "run")
    copy = drive / "run"
    assert Run.open(copy).recipe.sync == drive
    # The copy is continued in its place; it is its own copy then.
    continued = Copier(drive)
    to_end(resume(copy), continued)
    assert continued.failures == []
    assert not (copy / mirror.FOLDER).exists()
    assert_equal_runs(copy, trained.path)


def test_copy_has_everything_at_the_end(recipe: Recipe, tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    copier = Copier(drive)
    to_end(train(recipe.replace(sync=drive), tmp_path / "run"), copier)
    own, copied = local_tree(tmp_path / "run"), local_tree(drive / "run")
    own = {
        name: content
        for name, content in own.items()
        if not name.startswith((f"{mirror.FOLDER}/", "report/", ".lock"))
    }
    copied.pop(".lock")
    assert copied == own
    assert len(list((drive / "run/checkpoints").glob("step-*"))) == recipe.keep_checkpoints + 1


@pytest.mark.parametrize(
    "last", [3, *(pytest.param(last, marks=pytest.mark.slow) for last in (0, 5, 7, 9, 11))]
)
def test_copy_can_be_continued_after_each_file(
    last: int, recipe: Recipe, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drive goes away in the middle of the second copy, at any file; then it is back."""
    drive, run = tmp_path / "drive", tmp_path / "run"
    drive.mkdir()
    copied: list[str] = []
    original = mirror._copy_file

    def until_last(source: Path, target: Path) -> None:
        if len(copied) >= last:
            raise OSError(errno.EIO, "the drive is gone")
        original(source, target)
        copied.append(source.name)

    to_end(train(recipe.replace(sync=drive), run, stop_at(4)), Copier(drive))
    monkeypatch.setattr(mirror, "_copy_file", until_last)
    broken = Copier(drive)
    to_end(resume(run, stop_at(9)), broken)
    assert all("the drive is gone" in text for text in broken.failures)
    monkeypatch.setattr(mirror, "_copy_file", original)
    shutil.move(drive / "run", tmp_path / "copy")
    to_end(resume(tmp_path / "copy"))
    assert_equal_runs(tmp_path / "copy", trained.path)
    assert Outbox(run / mirror.FOLDER).pending
    shutil.move(tmp_path / "copy", drive / "run")


def snapshot(run: Run, tmp_path: Path) -> Path:
    """A snapshot of a run, as it waits in the outbox."""
    outbox = Outbox(tmp_path / "own" / mirror.FOLDER)
    outbox.stage(run.path, mirror.run_files(run.path), "final", "")
    claimed = outbox.claim()
    assert claimed is not None
    return claimed


def test_full_drive_keeps_a_copy_to_continue_from(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, copy = snapshot(trained, tmp_path), tmp_path / "drive" / "run"
    copy.parent.mkdir()
    original = shutil.copyfileobj

    def full(reader, writer, size: int) -> None:
        if "checkpoints" in writer.name:
            writer.write(b"some of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(reader, writer, size)

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(SendError, match="is full: free some space"):
        mirror.mirror(source, copy)
    assert not list(copy.rglob("*.partial"))
    assert not list(copy.glob("checkpoints/*"))
    assert not (copy / "recipe.json").exists()
    monkeypatch.setattr("shutil.copyfileobj", original)
    (copy / "checkpoints/step-00000001.safetensors").write_bytes(b"obsolete")
    mirror.mirror(source, copy)
    copied = local_tree(copy)
    copied.pop(".lock")
    assert copied == local_tree(source)


def test_drive_that_is_away_is_not_replaced_by_its_mount_point(
    trained: Run, tmp_path: Path
) -> None:
    source, drive = snapshot(trained, tmp_path), tmp_path / "drive"
    with pytest.raises(SendError, match="is the drive mounted"):
        mirror.mirror(source, drive / "run")
    assert not drive.exists()
    drive.mkdir()
    mirror.mirror(source, drive / "run")
    drive.rename(tmp_path / "unplugged")
    drive.mkdir()
    with pytest.raises(SendError, match="is gone: is the drive mounted"):
        mirror.mirror(source, drive / "run")
    assert not list(drive.iterdir())
    (drive / "run").mkdir()
    mirror.mirror(source, drive / "run")
    assert (drive / "run/recipe.json").is_file()
    mirror.mirror(source, tmp_path / "unplugged" / "run")


def test_copy_of_another_run_is_not_overwritten(trained: Run, tmp_path: Path) -> None:
    source, copy = snapshot(trained, tmp_path), tmp_path / "drive" / "run"
    shutil.copytree(trained.path, copy)
    text = (copy / "environment.json").read_text()
    (copy / "environment.json").write_text(text.replace('"started": "2', '"started": "1'))
    before = local_tree(copy)
    with pytest.raises(SendError, match="is another run"):
        mirror.mirror(source, copy)
    assert local_tree(copy) == before


def test_copy_that_is_trained_in_is_left_alone(trained: Run, tmp_path: Path) -> None:
    source, copy = snapshot(trained, tmp_path), tmp_path / "drive" / "run"
    shutil.copytree(trained.path, copy)
    with Run(copy).locked(), pytest.raises(SendError, match="another process is training"):
        mirror.mirror(source, copy)


def test_unchanged_files_are_not_copied_again(trained: Run, tmp_path: Path) -> None:
    source, copy = snapshot(trained, tmp_path), tmp_path / "drive" / "run"
    copy.parent.mkdir()
    mirror.mirror(source, copy)
    before = {path: path.stat().st_ino for path in copy.rglob("*.safetensors")}
    mirror.mirror(source, copy)
    assert {path: path.stat().st_ino for path in copy.rglob("*.safetensors")} == before


def test_symbolic_links_in_a_copy_are_replaced(trained: Run, tmp_path: Path) -> None:
    source, copy = snapshot(trained, tmp_path), tmp_path / "drive" / "run"
    copy.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (copy / "log.jsonl").symlink_to(outside)
    mirror.mirror(source, copy)
    assert outside.read_text() == "mine"
    assert not (copy / "log.jsonl").is_symlink()


def test_links_in_a_snapshot_are_not_followed(trained: Run, tmp_path: Path) -> None:
    source, copy = snapshot(trained, tmp_path), tmp_path / "drive" / "run"
    copy.parent.mkdir()
    (source / "notes.txt").symlink_to(trained.path / "recipe.json")
    mirror.mirror(source, copy)
    assert not (copy / "notes.txt").exists()


def test_process_that_copies_does_without_torch() -> None:
    code = "import sys, residua.runs.mirror; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_process_copies_beside_the_training(recipe: Recipe, tmp_path: Path) -> None:
    """The drive appears while the training runs; what failed is said once and caught up."""
    drive, run, said = tmp_path / "drive", tmp_path / "run", []
    observer = SyncObserver(drive, said.append, first_delay=0.1)

    def connect(event: Event) -> None:
        outbox = Outbox(run / mirror.FOLDER)
        if isinstance(event, Started):
            assert wait_until(lambda: bool(outbox.status.failing))
        elif not drive.exists() and getattr(event, "step", 0) == 6:
            drive.mkdir()

    to_end(train(recipe.replace(sync=drive), run), observer, connect)
    assert wait_until(lambda: not Outbox(run / mirror.FOLDER).pending)
    assert observer._process is not None
    assert observer._process.wait(30) == 0
    assert (drive / "run/result.json").read_bytes() == (run / "result.json").read_bytes()
    assert len([line for line in said if "is the drive mounted" in line]) == 1


def test_observer_of_a_recipe(recipe: Recipe, tmp_path: Path) -> None:
    (observer,) = recipe_observers(recipe.replace(sync=tmp_path))
    assert isinstance(observer, SyncObserver)
    assert observer.due(Stopped(7)) == "stop-7"
