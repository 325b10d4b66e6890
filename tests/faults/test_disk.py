"""Faults of disks, files, processes and clocks, while a run trains and between trainings."""

import ast
import contextlib
import errno
import itertools
import os
import pkgutil
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from equal_runs import assert_equal_runs
from processes import run_cli, start_training, write_recipe

import residua
from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.runs.artifacts import load_filters
from residua.runs.model_file import load_model
from residua.runs.run import Run, checkpoint_step
from residua.training.events import EpochFinished, Finished, Started, StepFinished
from residua.training.loop import fit, resume, train

Tiny = Callable[..., Recipe]
Complete = Callable[[Recipe], Path]


def train_until(step: int, recipe: Recipe, run: Path) -> None:
    """Train, save and stop after a step; an epoch of `tiny` has 4."""
    list(train(recipe, run, lambda progress: progress.step >= step))


def last_step(run: Path) -> int:
    return checkpoint_step(Run.open(run).checkpoints[-1])


@contextmanager
def limited_files(_: Path) -> Iterator[Callable[[], None]]:
    """Yield a function after whose call files cannot grow beyond 3000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def small_disk(directory: Path) -> Iterator[Callable[[], None]]:
    """Mount a small disk on a directory; yield a function that fills it."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(directory)]
    available = shutil.which("mount") is not None
    if not available or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk here")
    ballast = directory / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    try:
        yield fill
        ballast.unlink(missing_ok=True)
        # What is compared afterwards must outlive the disk.
        shutil.copytree(directory, directory.with_name("copy"))
    finally:
        # Lazily: the raised exception may still hold files open.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.parametrize("disk", [limited_files, small_disk])
def test_full_disk_is_one_line_and_loses_nothing(
    disk: Callable, tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    recipe, directory = tiny(epochs=4), tmp_path / "disk"
    directory.mkdir()
    with disk(directory) as fill, pytest.raises(UserError) as caught:  # noqa: PT012
        for event in train(recipe, directory / "run"):
            if isinstance(event, EpochFinished) and event.record.epoch == 2:
                fill()
    message = str(caught.value)
    assert f"the run {directory}/run cannot be written: " in message
    assert os.strerror(errno.ENOSPC) in message or os.strerror(errno.EFBIG) in message
    assert f"`residua resume {directory}/run`" in message
    run = (directory if (directory / "run").exists() else tmp_path / "copy") / "run"
    assert last_step(run) >= 8
    list(resume(run))
    assert_equal_runs(complete_run(recipe), run)


def test_disk_without_room_for_a_checkpoint_is_reported_before_the_first_step(
    tiny: Tiny, tmp_path: Path
) -> None:
    with limited_files(tmp_path) as fill:
        fill()
        with pytest.raises(UserError, match="cannot be written: File too large"):
            next(train(tiny(), tmp_path / "run"))
    with pytest.raises(UserError, match="is not a run"):
        Run.open(tmp_path / "run")
    *_, end = train(tiny(), tmp_path / "run")
    assert isinstance(end, Finished)


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Forbid writing to a directory; root becomes `nobody` meanwhile."""
    modes = {path: path.stat().st_mode for path in (directory, *directory.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    if os.getuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory that every user may read, unlike pytest's own."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_read_only_directory_is_one_clear_error_and_loses_nothing(
    tiny: Tiny, complete_run: Complete, public_path: Path
) -> None:
    run = public_path / "run"
    train_until(6, tiny(), run)
    with read_only(public_path):
        with pytest.raises(UserError, match="run cannot be written: Permission denied"):
            list(resume(run))
        with pytest.raises(UserError, match=r"cannot make the run .*: Permission denied"):
            list(train(tiny(), public_path / "other"))
    events = resume(run)
    assert isinstance(next(events), Started)
    with read_only(run), pytest.raises(UserError, match="cannot be written: Permission"):  # noqa: PT012
        for event in events:
            assert isinstance(event, StepFinished)
            assert not os.access(run, os.W_OK, effective_ids=True)
    list(resume(run))
    assert_equal_runs(complete_run(tiny()), run)


def test_vanished_run_is_reported_and_not_created_again(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):  # noqa: PT012
        for event in train(tiny(), run):
            if isinstance(event, StepFinished) and event.step == 5:
                shutil.rmtree(run)
    assert not run.exists()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip_bit(position: float) -> Callable[[Path], None]:
    """Return a function that changes a bit at a position from 0, the start, to 1, the end."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(position * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return flip


DAMAGES = [truncate, empty, *map(flip_bit, (0, 0.02, 0.5, 1))]
any_damage = pytest.mark.parametrize("damage", DAMAGES)


@any_damage
def test_damaged_checkpoint_is_reported_and_the_one_before_it_is_used(
    damage: Callable[[Path], None], tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    recipe, run = tiny(epochs=4), tmp_path / "run"
    train_until(8, recipe, run)
    last = Run.open(run).checkpoints[-1]
    damage(last)
    with pytest.warns(UserWarning, match=rf"{last.name} is damaged.*using the checkpoint before"):
        events = list(resume(run))
    assert isinstance(events[0], Started)
    assert events[0].step == 4
    assert_equal_runs(complete_run(recipe), run)


KILLS = [
    ("residua.runs.run._link_or_copy", 1, None),
    ("residua.runs.model_file.sign_model", 1, "has no model: there is no model.safetensors or its"),
    ("residua.runs.model_file.sign_model", 2, "do not match model.json"),
    ("residua.runs.model_file.sign_model", 3, None),
    ("residua.training.finish.update_model", 1, None),
    ("residua.training.finish.save_predictions", 1, None),
]
"""Between two files that belong together: a function, its call, the error of `load_model` then.

These are the best checkpoint and its step, the weights and the description of the first, the best
and the last epoch's model, the two models, and models and predictions.
"""


@pytest.mark.parametrize(("function", "call", "error"), KILLS)
def test_killed_between_two_files_that_belong_together(
    function: str,
    call: int,
    error: str | None,
    tiny: Tiny,
    complete_run: Complete,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """These moments are too short to be hit by chance."""
    recipe, run = tiny(seed=3), tmp_path / "run"
    complete = complete_run(recipe)
    assert load_model(complete)[1].epoch == 2, "epoch 1 is the best at first"
    calls, original = itertools.count(1), pkgutil.resolve_name(function)

    def kill(*arguments: object, **keywords: object) -> object:
        if next(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    monkeypatch.setattr(function, kill)
    with pytest.raises(KeyboardInterrupt):
        list(train(recipe, run))
    monkeypatch.undo()
    with pytest.raises(UserError, match=error) if error else contextlib.nullcontext():
        load_model(run)
    list(resume(run))
    assert_equal_runs(complete, run)


@any_damage
@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_damaged_model_is_refused_and_written_again_by_resumption(
    name: str,
    damage: Callable[[Path], None],
    tiny: Tiny,
    complete_run: Complete,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(complete_run(tiny()), run)
    damage(run / name)
    with pytest.raises(UserError, match=r"model\.\w+ is damaged") as caught:
        load_model(run)
    assert "\n" not in str(caught.value)
    (run / "result.json").unlink()
    with pytest.warns(UserWarning, match="is damaged.*it is written again"):
        list(resume(run))
    assert_equal_runs(complete_run(tiny()), run)


def test_run_without_undamaged_checkpoints_is_left_as_it_is(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_until(6, tiny(), run)
    log = (run / "log.jsonl").read_bytes()
    for checkpoint in Run.open(run).checkpoints:
        truncate(checkpoint)
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(UserError, match="none of 3"):
        list(resume(run))
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    with pytest.raises(UserError, match="none of 0 checkpoints"):
        list(resume(run))
    assert (run / "log.jsonl").read_bytes() == log


def test_damaged_best_checkpoint_is_reported_and_replaced_by_the_last(
    tiny: Tiny, tmp_path: Path
) -> None:
    lr = {"kind": "phases", "boundaries": [2], "values": [0.1, 30.0]}
    run = fit(tiny(epochs=4, optimizer__lr=lr, save_every=4), tmp_path / "run")
    result = run.result
    assert result is not None
    best = result.best.epoch
    assert best < 4
    (run.path / "result.json").unlink()
    truncate(run.best_checkpoint)
    with pytest.warns(UserWarning, match=f"the last epoch stands in for the best, {best}"):
        *_, end = resume(run.path)
    assert isinstance(end, Finished)
    assert end.result.lost_best_epoch == best
    assert end.result.best == end.result.last == result.last
    assert load_model(run.path)[1] == load_model(run.path, "last")[1]


def test_damaged_filters_are_reported_and_the_training_continues(
    tiny: Tiny, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_until(4, tiny(), run)
    truncate(run / "artifacts/filters.safetensors")
    with pytest.warns(UserWarning, match="is damaged.*starting the filters anew"):
        list(resume(run))
    assert list(load_filters(Run.open(run))) == [2, 3]


def test_incomplete_last_line_of_the_log_is_ignored(
    tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_until(8, tiny(), run)
    log = run / "log.jsonl"
    lines = log.read_bytes()
    for partial in (b'{"epoch": 3, "st', b"\x00" * 300, '{"é'.encode()[:-1], lines.splitlines()[1]):
        log.write_bytes(lines + partial)
        assert [record.epoch for record in Run.open(run).log] == [1, 2]
    list(resume(run))
    assert_equal_runs(complete_run(tiny()), run)


def test_damaged_line_of_the_log_is_named(
    tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(complete_run(tiny()), run)
    first, second, third = (run / "log.jsonl").read_text().splitlines()
    for damaged in ("", "5", "{}", second[:-9], second.replace('"epoch": 2', '"epoch": "2"')):
        (run / "log.jsonl").write_text(f"{first}\n{damaged}\n{third}\n")
        with pytest.raises(UserError, match=r"log\.jsonl is damaged after line 1"):
            assert not Run.open(run).log
    (run / "log.jsonl").write_text(f"{second}\n{first}\n")
    with pytest.raises(UserError, match="epochs and steps must increase"):
        assert not Run.open(run).log


BUSY = "another process is training in"


def test_second_process_is_refused(tiny: Tiny, complete_run: Complete, tmp_path: Path) -> None:
    run = tmp_path / "run"
    events = train(tiny(), run)
    assert isinstance(next(events), Started)
    with pytest.raises(UserError, match=BUSY):
        list(resume(run))
    second = run_cli("resume", run)
    assert (second.returncode, second.stderr) == (2, f"residua: {BUSY} {run}\n")
    list(events)
    assert_equal_runs(complete_run(tiny()), run)


def test_lock_also_protects_a_run_that_is_being_created(tmp_path: Path, tiny: Tiny) -> None:
    run = Run.create(tmp_path / "run")
    with run.locked(), pytest.raises(UserError, match=BUSY):
        next(train(tiny(), tmp_path / "run"))


def test_lock_ends_with_its_process(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start_training(run, write_recipe(tmp_path / "recipe.json", epochs=1))
    process.wait_for(lambda: process.has_taken(2))
    with pytest.raises(UserError, match=BUSY):
        list(resume(run))
    process.kill()
    assert run_cli("resume", run).returncode == 0


def test_file_system_without_locks_is_a_warning(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with pytest.warns(UserWarning, match="is on a file system without locks"):
        *_, end = train(tiny(epochs=1), tmp_path / "run")
    assert isinstance(end, Finished)


def test_incomplete_run_directory_is_reused(
    tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    next(train(tiny(seed=5), run))
    (run / "recipe.json").rename(run / ".recipe.json.partial")
    with pytest.raises(UserError, match="is not a run"):
        list(resume(run))
    list(train(tiny(), run))
    assert_equal_runs(complete_run(tiny()), run)
    (run / "recipe.json").unlink()
    with pytest.raises(UserError, match="not empty"):
        list(train(tiny(), run))


def test_clock_that_goes_backwards_changes_nothing(
    tiny: Tiny, complete_run: Complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = tiny(epochs=4), tmp_path / "run"
    complete_run(recipe)
    now = [2e9]

    def earlier() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", earlier)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * earlier()))
    for stop in (5, 10):
        start = resume if run.exists() else (lambda *arguments: train(recipe, *arguments))
        list(start(run, lambda progress, stop=stop: progress.step >= stop))
        for index, checkpoint in enumerate(Run.open(run).checkpoints):
            os.utime(checkpoint, (1e9 - 3600 * index,) * 2)
    assert last_step(run) == 10
    list(resume(run))
    assert_equal_runs(complete_run(recipe), run)
    assert all(record.seconds > 0 for record in Run.open(run).log)


def test_nothing_depends_on_the_time_of_day() -> None:
    """Only the environment records it, and the command line names a run by it.

    Where a training stands, how old a run is, which cached file is the oldest and when an upload is
    tried again depend on it too: none of them is part of what is trained.
    """
    source = Path(residua.__file__).parent
    modules = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and (
            node.attr in ("st_mtime", "st_ctime", "st_mtime_ns", "time_ns", "now", "today")
            or ast.unparse(node) == "time.time"
        )
    }
    assert modules == {
        "runs/environment.py",
        "cli/train.py",
        "cli/progress_file.py",
        "data/cache.py",
        "runs/listing.py",
        "runs/mirror.py",
        "runs/outbox.py",
        "runs/progress.py",
    }


def test_checksum_detects_changes_that_keep_the_format_valid(tiny: Tiny, tmp_path: Path) -> None:
    """Damage that safetensors itself does not notice."""
    run = tmp_path / "run"
    train_until(4, tiny(), run)
    last = Run.open(run).checkpoints[-1]
    content = last.read_bytes()
    last.write_bytes(content.replace(b'\\"step\\": 4', b'\\"step\\": 5'))
    with pytest.warns(UserWarning, match="do not match its checksum"):
        first = next(resume(run))
    assert isinstance(first, Started)
    assert first.step == 0
