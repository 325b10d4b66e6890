"""Contenders take turns, each in a process of its own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from speed.contender import Contender
from speed.figures import Bench
from speed.product import products
from speed.race import Effort, race

from residua import UserError
from residua.cli import main
from residua.recipes.recipe import Recipe

PROGRAM = '''"""Writes down who took a step, and when. And more."""
import os
import sys
import time
from pathlib import Path

from speed.serve import serve


def loop(recipe, track):
    print("this is not an answer")
    track.prepared()
    while True:
        time.sleep({pause})
        with (Path(sys.argv[0]).parent / "steps").open("a") as file:
            file.write({name!r} + recipe.precision[0] + " ")
        track.step(waited={pause} / 2)


serve(loop)
'''


@pytest.fixture
def programs(tmp_path: Path) -> Callable[..., Contender]:
    """A contender that sleeps and writes its name down at every step."""

    def written(name: str, pause: float, text: str = PROGRAM) -> Contender:
        path = tmp_path / f"{name}.py"
        path.write_text(text.format(name=name, pause=pause))
        return Contender.of(path)

    return written


def test_contenders_take_turns(
    tiny: Callable[..., Recipe], programs: Callable[..., Contender], tmp_path: Path
) -> None:
    slow, fast = programs("s", 0.3), programs("f", 0.15).given({"precision": "bfloat16"})
    result, broken = race(tiny(), [slow, fast], Effort(rounds=3, steps=2))
    assert broken == []
    steps = (tmp_path / "steps").read_text().split()
    # The first step; one to find the pace; then warm and timed ones, the order turning each round.
    s, f = ["sf"] * (3 + 2), ["fb"] * (6 + 2)
    assert steps == ["sf", "fb", "sf", "fb", *s, *f, *f, *s, *s, *f, "sf", "fb"]
    one, other = result.racers
    assert (one.name, one.does) == ("s", "Writes down who took a step, and when. And more")
    assert [lap.steps for lap in one.laps] == [2, 2, 2]
    for racer, pause in ((one, 0.3), (other, 0.15)):
        assert min(racer.steps_seconds) >= pause
        assert racer.laps[0].waited == pytest.approx(pause)
        assert racer.laps[0].memory_mib > 0
        assert racer.warm is not None
        assert 0 < racer.cold.imported <= racer.cold.prepared
        assert racer.cold.prepared + pause <= racer.cold.first


def test_who_breaks_down_at_the_start_is_left_out(
    tiny: Callable[..., Recipe], programs: Callable[..., Contender]
) -> None:
    broken = programs("b", 0, "import nowhere_to_be_found")
    well = programs("w", 0.01)
    result, said = race(tiny(), [broken, well], Effort(rounds=1, steps=1))
    assert [racer.name for racer in result.racers] == ["w"]
    assert len(said) == 1
    assert "tiny: b broke down: ModuleNotFoundError: No module named 'nowhere" in said[0]


def test_a_program_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.py").write_text("def")
    for name in ("no.py", "nothing.py"):
        with pytest.raises(UserError, match=name):
            Contender.of(tmp_path / name)


def test_the_command_races_and_keeps_the_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUA_DATA", str(tmp_path / "nothing"))
    main([
        "bench", "--systems", "resnet20", "--rounds", "1", "--steps", "1", "--batch-size", "4",
        "--no-compiled", "--device", "cpu", "--output", str(tmp_path / "out"),
    ])  # fmt: skip
    out = capsys.readouterr().out
    path = Path(out.strip().splitlines()[-1])
    assert path.parent == tmp_path / "out"
    kept = Bench.model_validate_json(path.read_text())
    (result,) = kept.races
    names = [racer.name for racer in result.racers if racer.name != "bfloat16"]
    assert names == ["ours", "plain", "input", "product"]
    assert result.parameters == json.loads(path.read_text())["races"][0]["parameters"] == 278_324
    assert "| `resnet20`, batch 4, float32 | `ours` |" in out
    assert kept.data == "shapes100"


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--systems", "resnet"], ["--also", "no.py"]])
def test_mistakes_are_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["bench", *words])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("residua: ")


def test_every_way_to_multiply_gives_the_same_product() -> None:
    left, right = torch.randn(2, 64, 64)
    ways = list(products(left, right))
    assert len(ways) == 2
    for way in ways:
        torch.testing.assert_close(way(), left @ right.T)
