"""What disks and people do to a run while it trains, and between."""

import ast
import contextlib
import errno
import os
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
from processes import following, residua, write_recipe

import residua as package
from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.runs.artifacts import filters
from residua.runs.run import Run
from residua.training.events import EpochFinished, Finished, Started, StepFinished
from residua.training.loop import resume, train

Tiny = Callable[..., Recipe]


@contextmanager
def limited_files(_: Path) -> Iterator[Callable[[], None]]:
    """Files that cannot grow beyond 3000 bytes, from the call on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(place: Path) -> Iterator[Callable[[], None]]:
    """A disk of its own at a place, that is full from the call on."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
    there = shutil.which("mount") is not None
    if not there or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk here")
    ballast = place / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    try:
        yield fill
        ballast.unlink(missing_ok=True)
        # What is compared afterwards has to outlive the disk.
        shutil.copytree(place, place.with_name("kept"))
    finally:
        # Lazily: what was raised may still hold files open.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("disk", [limited_files, small_disk])
def test_a_full_disk_ends_in_one_line_and_loses_nothing(
    disk: Callable, tiny: Tiny, tmp_path: Path
) -> None:
    list(train(tiny(epochs=4), tmp_path / "whole"))
    place = tmp_path / "disk"
    place.mkdir()
    with disk(place) as fill, pytest.raises(UserError) as caught:  # noqa: PT012
        for event in train(tiny(epochs=4), place / "run"):
            if isinstance(event, EpochFinished) and event.record.epoch == 2:
                fill()
    said = str(caught.value)
    assert f"the run {place}/run cannot be written: " in said
    assert os.strerror(errno.ENOSPC) in said or os.strerror(errno.EFBIG) in said
    assert f"`residua resume {place}/run`" in said
    home = place if (place / "run").exists() else tmp_path / "kept"
    assert Run.open(home / "run").step >= 8
    list(resume(home / "run"))
    assert_equal_runs(tmp_path / "whole", home / "run")


def test_a_disk_without_room_for_a_checkpoint_says_so_before_the_first_step(
    tiny: Tiny, tmp_path: Path
) -> None:
    with limited_files(tmp_path) as fill:
        fill()
        with pytest.raises(UserError, match="cannot be written: File too large"):
            next(train(tiny(), tmp_path / "run"))
    with pytest.raises(UserError, match="holds no run"):
        Run.open(tmp_path / "run")
    *_, end = train(tiny(), tmp_path / "run")
    assert isinstance(end, Finished)


@contextmanager
def forbidden(place: Path) -> Iterator[None]:
    """A folder that nothing may be written to; root becomes nobody meanwhile."""
    modes = {each: each.stat().st_mode for each in (place, *place.rglob("*"))}
    for each, mode in modes.items():
        each.chmod(mode & ~0o222)
    if os.getuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for each, mode in modes.items():
            each.chmod(mode)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that everybody may look into, which pytest's own are not."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def test_a_read_only_directory_is_a_clear_error_and_loses_nothing(
    tiny: Tiny, open_path: Path, tmp_path: Path
) -> None:
    list(train(tiny(), tmp_path / "whole"))
    run = open_path / "run"
    list(train(tiny(), run, lambda progress: progress.step >= 6))
    with forbidden(open_path):
        with pytest.raises(UserError, match="run cannot be written: Permission denied"):
            list(resume(run))
        with pytest.raises(UserError, match=r"cannot make the run .*: Permission denied"):
            list(train(tiny(), open_path / "other"))
    with pytest.raises(UserError, match="run cannot be written: Permission denied"):  # noqa: PT012
        for event in resume(run):
            if isinstance(event, Started):
                denied = forbidden(run)
                denied.__enter__()
            if isinstance(event, StepFinished) and event.step == 7:
                assert not os.access(run, os.W_OK, effective_ids=True)
    denied.__exit__(None, None, None)
    list(resume(run))
    assert_equal_runs(tmp_path / "whole", run)


def test_a_run_that_vanishes_is_said_and_not_made_again(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):  # noqa: PT012
        for event in train(tiny(), run):
            if isinstance(event, StepFinished) and event.step == 5:
                shutil.rmtree(run)
    assert not run.exists()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def flipped(place: float) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return flip


DAMAGES = [cut, emptied, flipped(0), flipped(0.02), flipped(0.5), flipped(1)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_the_one_before_it_taken(
    damage: Callable[[Path], None], tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny(epochs=4)
    list(train(recipe, tmp_path / "whole"))
    run = tmp_path / "run"
    list(train(recipe, run, lambda progress: progress.epoch >= 2))
    last = Run.open(run).checkpoints[-1]
    damage(last)
    with pytest.warns(UserWarning, match=rf"{last.name} is damaged.*the checkpoint before it is"):
        events = list(resume(run))
    assert events[0].step == 4
    assert_equal_runs(tmp_path / "whole", run)


def test_killed_between_the_best_checkpoint_and_its_step(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment too short to be hit by chance."""
    list(train(tiny(), tmp_path / "whole"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("residua.runs.run._link", killed)
    with pytest.raises(KeyboardInterrupt):
        list(train(tiny(), tmp_path / "run"))
    monkeypatch.undo()
    list(resume(tmp_path / "run"))
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_without_a_sound_checkpoint_nothing_is_overwritten(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    list(train(tiny(), run, lambda progress: progress.step >= 6))
    log = (run / "log.jsonl").read_bytes()
    for checkpoint in Run.open(run).checkpoints:
        cut(checkpoint)
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(UserError, match="none of 3"):
        list(resume(run))
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    with pytest.raises(UserError, match="none of 0 checkpoints"):
        list(resume(run))
    assert (run / "log.jsonl").read_bytes() == log


def test_a_damaged_best_checkpoint_is_said_and_the_last_stands_in(
    tiny: Tiny, tmp_path: Path
) -> None:
    rates = {"kind": "phases", "boundaries": [2], "values": [0.1, 30.0]}
    run = tmp_path / "run"
    *_, end = train(tiny(epochs=4, optimizer__lr=rates, save_every=4), run)
    assert isinstance(end, Finished)
    best = end.result["best"]["epoch"]
    assert best < 4
    (run / "result.json").unlink()
    cut(run / "checkpoints/best.safetensors")
    with pytest.warns(UserWarning, match=f"the last epoch stands in for the best, {best}"):
        *_, again = resume(run)
    assert isinstance(again, Finished)
    assert again.result["best_lost"] == best
    assert again.result["best"] == again.result["last"] == end.result["last"]


def test_damaged_filters_are_said_and_the_training_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    list(train(tiny(), run, lambda progress: progress.epoch >= 1))
    cut(run / "artifacts/filters.safetensors")
    with pytest.warns(UserWarning, match="is damaged.*the filters are kept anew"):
        list(resume(run))
    assert list(filters(Run.open(run))) == [2, 3]


def test_a_torn_last_line_of_the_log_is_passed_over(tiny: Tiny, tmp_path: Path) -> None:
    list(train(tiny(), tmp_path / "whole"))
    run = tmp_path / "run"
    list(train(tiny(), run, lambda progress: progress.epoch >= 2))
    log = run / "log.jsonl"
    whole = log.read_bytes()
    for torn in (b'{"epoch": 3, "st', b"\x00" * 300, '{"é'.encode()[:-1], whole.splitlines()[1]):
        log.write_bytes(whole + torn)
        assert [record.epoch for record in Run.open(run).log] == [1, 2]
    list(resume(run))
    assert_equal_runs(tmp_path / "whole", run)


def test_a_damaged_line_within_the_log_is_named(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    list(train(tiny(), run))
    first, second, third = (run / "log.jsonl").read_text().splitlines()
    for broken in ("", "5", "{}", second[:-9], second.replace('"epoch": 2', '"epoch": "2"')):
        (run / "log.jsonl").write_text(f"{first}\n{broken}\n{third}\n")
        with pytest.raises(UserError, match=r"log\.jsonl is damaged after line 1"):
            assert not Run.open(run).log
    (run / "log.jsonl").write_text(f"{second}\n{first}\n")
    with pytest.raises(UserError, match="epochs go backwards"):
        assert not Run.open(run).log


def test_a_second_process_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    list(train(tiny(), tmp_path / "whole"))
    run = tmp_path / "run"
    events = train(tiny(), run)
    assert isinstance(next(events), Started)
    with pytest.raises(UserError, match="another process is at work on"):
        list(resume(run))
    done = residua("resume", run)
    assert (done.returncode, done.stderr) == (
        2, f"residua: another process is at work on {run}\n"
    )  # fmt: skip
    list(events)
    assert_equal_runs(tmp_path / "whole", run)


def test_a_beginning_is_held_too(tmp_path: Path, tiny: Tiny) -> None:
    run = Run.create(tmp_path / "run")
    with run.locked(), pytest.raises(UserError, match="another process is at work on"):
        next(train(tiny(), tmp_path / "run"))


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = following(run, write_recipe(tmp_path / "recipe.json", epochs=1))
    process.wait_for(lambda: process.took(2))
    with pytest.raises(UserError, match="another process is at work on"):
        list(resume(run))
    process.kill()
    assert residua("resume", run).returncode == 0


def test_where_nothing_can_be_locked_a_warning_says_so(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unknown)
    with pytest.warns(UserWarning, match="lies where nothing can be locked"):
        *_, end = train(tiny(epochs=1), tmp_path / "run")
    assert isinstance(end, Finished)


def test_a_beginning_that_became_no_run_is_begun_over(tiny: Tiny, tmp_path: Path) -> None:
    list(train(tiny(), tmp_path / "whole"))
    run = tmp_path / "run"
    next(train(tiny(seed=5), run))
    (run / "recipe.json").rename(run / ".recipe.json.partial")
    with pytest.raises(UserError, match="holds no run"):
        list(resume(run))
    list(train(tiny(), run))
    assert_equal_runs(tmp_path / "whole", run)
    (run / "recipe.json").unlink()
    with pytest.raises(UserError, match="not empty"):
        list(train(tiny(), run))


def test_a_clock_that_goes_backwards_changes_nothing(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(train(tiny(epochs=4), tmp_path / "whole"))
    now = [2e9]

    def earlier() -> float:
        now[0] -= 3600
        return now[0]

    run = tmp_path / "run"
    monkeypatch.setattr(time, "time", earlier)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * earlier()))
    for stop in (5, 10):
        begin = resume if run.exists() else (lambda *words: train(tiny(epochs=4), *words))
        list(begin(run, lambda progress, stop=stop: progress.step >= stop))
        for place, checkpoint in enumerate(Run.open(run).checkpoints):
            os.utime(checkpoint, (1e9 - 3600 * place,) * 2)
    assert Run.open(run).step == 10
    list(resume(run))
    assert_equal_runs(tmp_path / "whole", run)
    assert all(record.seconds > 0 for record in Run.open(run).log)


def test_nothing_goes_by_the_time_of_day() -> None:
    """Only `environment` writes it down, and `cli` names a run after it."""
    source = Path(package.__file__).parent
    found = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and (
            node.attr in ("st_mtime", "st_ctime", "st_mtime_ns", "time_ns", "now", "today")
            or ast.unparse(node) == "time.time"
        )
    }
    assert found == {"environment.py", "cli.py"}


def test_checkpoints_tell_their_contents_not_only_their_size(tiny: Tiny, tmp_path: Path) -> None:
    """A damage that safetensors itself does not see."""
    run = tmp_path / "run"
    list(train(tiny(), run, lambda progress: progress.epoch >= 1))
    last = Run.open(run).checkpoints[-1]
    content = last.read_bytes()
    last.write_bytes(content.replace(b'\\"step\\": 4', b'\\"step\\": 5'))
    with pytest.warns(UserWarning, match="do not match its checksum"):
        first = next(resume(run))
    assert first.step == 0
