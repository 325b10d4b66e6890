"""Entries are measured in alternation, each in a process of its own."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bench
import pytest
import torch
from speed.comparison import BenchConfig, compare
from speed.entry import COMPILED, MATMUL, OURS, PLAIN, Entry, start_worker
from speed.matmul import matmul_variants
from speed.results import Bench

from residua import UserError
from residua.recipes.recipe import Recipe

pytestmark = pytest.mark.slow

PROGRAM = '''"""Writes a line for each step. And more."""
import sys
import time
from pathlib import Path

from speed.worker import serve


def loop(recipe, timer):
    print("this is not an answer")
    timer.prepared()
    while True:
        time.sleep({pause})
        with (Path(sys.argv[0]).parent / "steps").open("a") as file:
            file.write({name!r} + recipe.precision[0] + " ")
        timer.step(wait_seconds={pause} / 2)


serve(loop)
'''


@pytest.fixture
def make_entry(tmp_path: Path) -> Callable[..., Entry]:
    """Make an entry that sleeps at each step, and writes its name to a file."""

    def make(name: str, pause: float, text: str = PROGRAM) -> Entry:
        path = tmp_path / f"{name}.py"
        path.write_text(text.format(name=name, pause=pause))
        return Entry.from_file(path)

    return make


def test_entries_alternate(
    tiny: Callable[..., Recipe], make_entry: Callable[..., Entry], tmp_path: Path
) -> None:
    slow = make_entry("s", 0.3)
    fast = replace(make_entry("f", 0.15), changes={"precision": "bfloat16"})
    comparison, skipped = compare(tiny(), [slow, fast], BenchConfig(rounds=3, steps=2))
    assert skipped == []
    steps = (tmp_path / "steps").read_text().split()
    # The first step; one to measure the speed; warm-up and timed steps; the restart. The order of
    # entries is reversed in every second round.
    s, f = ["sf"] * (3 + 2), ["fb"] * (6 + 2)
    assert steps == ["sf", "fb", "sf", "fb", *s, *f, *f, *s, *s, *f, "sf", "fb"]
    one, other = comparison.results
    assert (one.name, one.description) == ("s", "Writes a line for each step. And more")
    assert [sample.steps for sample in one.samples] == [2, 2, 2]
    for result, pause in ((one, 0.3), (other, 0.15)):
        assert min(result.step_seconds) >= pause
        assert result.samples[0].wait_seconds == pytest.approx(pause)
        assert result.samples[0].peak_memory_mib > 0
        assert result.warm_start is not None
        assert 0 < result.cold_start.imported <= result.cold_start.prepared
        assert result.cold_start.prepared + pause <= result.cold_start.first_step


def test_an_entry_that_fails_to_start_is_skipped(
    tiny: Callable[..., Recipe], make_entry: Callable[..., Entry]
) -> None:
    broken = make_entry("b", 0, "import nowhere_to_be_found")
    working = make_entry("w", 0.01)
    comparison, skipped = compare(tiny(), [broken, working], BenchConfig(rounds=1, steps=1))
    assert [result.name for result in comparison.results] == ["w"]
    assert len(skipped) == 1
    assert "tiny: b failed: ModuleNotFoundError: No module named 'nowhere" in skipped[0]


def test_an_unreadable_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.py").write_text("def")
    for name in ("no.py", "nothing.py"):
        with pytest.raises(UserError, match=name):
            Entry.from_file(tmp_path / name)


def test_programs_need_no_search_path(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """benchmarks/ does not have to be on PYTHONPATH, as in `python benchmarks/bench.py`."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = [folder for folder in inherited if Path(folder).name != "benchmarks"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    monkeypatch.chdir(tmp_path)
    with start_worker(OURS, tiny(), tmp_path) as worker:
        assert worker.sample(0, 1).steps == 1


def test_all_built_in_programs_exist() -> None:
    assert all(entry.program.is_file() for entry in (OURS, COMPILED, PLAIN, MATMUL))


def test_the_command_compares_and_saves_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUA_DATA", str(tmp_path / "nothing"))
    bench.main([
        "--systems", "resnet20", "--rounds", "1", "--steps", "1", "--batch-size", "4",
        "--no-compiled", "--device", "cpu", "--output", str(tmp_path / "out"),
    ])  # fmt: skip
    output = capsys.readouterr().out
    path = Path(output.strip().splitlines()[-1])
    assert path.parent == tmp_path / "out"
    saved = Bench.model_validate_json(path.read_text())
    (comparison,) = saved.training
    names = [result.name for result in comparison.results if result.name != "bfloat16"]
    assert names == ["ours", "plain", "input", "matmul"]
    assert comparison.parameters == 278_324
    assert "| `resnet20`, batch 4, float32 | `ours` |" in output
    assert saved.data == "shapes100"


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--systems", "resnet"], ["--also", "no.py"]]
)
def test_errors_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        bench.main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("bench.py: ")


def test_all_variants_compute_the_same_product() -> None:
    left, right = torch.randn(2, 64, 64)
    variants = list(matmul_variants(left, right))
    assert len(variants) == 2
    for multiply in variants:
        torch.testing.assert_close(multiply(), left @ right.T)
