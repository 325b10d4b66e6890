"""The rate finder: its rates, its rule, its picture; and that it leaves no trace."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from residua import UserError
from residua.cli.find_lr import find_lr as command
from residua.recipes.recipe import Recipe
from residua.training.lr_finder import DIVERGED, LRCurve, draw, find_lr

Tiny = Callable[..., Recipe]


def test_rates_rise_by_one_factor_and_the_loss_falls_before_it_turns(tiny: Tiny) -> None:
    """Every step sees all images as they are, so that the loss falls at once."""
    recipe = tiny(augmentation=[], batch_size=200)
    curve = find_lr(recipe, start=1e-3, end=100.0, steps=24)
    steady = (100.0 / 1e-3) ** (1 / 23)
    assert curve.rates[0] == pytest.approx(1e-3)
    for before, after in zip(curve.rates, curve.rates[1:], strict=False):
        assert after / before == pytest.approx(steady)
    assert len(curve.rates) == len(curve.losses) == len(curve.smoothed) == 24
    sums = weights = 0.0
    for loss, smooth in zip(curve.losses, curve.smoothed, strict=True):
        sums, weights = 0.9 * sums + loss, 0.9 * weights + 1
        assert smooth == pytest.approx(sums / weights)
    assert curve.smoothed[0] > curve.smoothed[12] > curve.smoothed[16] > min(curve.smoothed)
    assert 0.1 < curve.suggestion < 10


def test_an_average_has_no_part_in_the_search(tiny: Tiny) -> None:
    plain = find_lr(tiny(), steps=4)
    assert find_lr(tiny(weight_average={"kind": "ema", "decay": 0.9}), steps=4) == plain


def test_a_diverging_loss_ends_the_search(tiny: Tiny) -> None:
    recipe = tiny(optimizer__momentum=0.0)
    curve = find_lr(recipe, start=1e-3, end=1e12, steps=40)
    assert curve.diverged
    assert len(curve.rates) < 40
    assert max(curve.smoothed) <= DIVERGED * min(curve.smoothed)
    assert all(math.isfinite(loss) for loss in curve.losses)
    whole = find_lr(recipe, start=1e-6, end=1e-4, steps=5)
    assert not whole.diverged
    assert whole.rates[-1] == pytest.approx(1e-4)


def test_the_suggestion_follows_its_rule() -> None:
    curve = LRCurve((0.1, 0.2, 0.4, 0.8), (4, 3, 1, 2), (4, 3.5, 2.5, 2.6), False)
    assert curve.suggestion == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("start", "end", "steps"), [(0, 1, 9), (1, 1, 9), (1, math.inf, 9), (1, 2, 1)]
)
def test_a_search_needs_a_span(tiny: Tiny, start: float, end: float, steps: int) -> None:
    with pytest.raises(UserError, match="searched for over 2 steps"):
        find_lr(tiny(), start, end, steps)


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    curve = LRCurve((0.1, 0.2, 0.4), (4, 3, 1), (4, 3.5, 2.5), False)
    draw(curve, tmp_path / "rates.svg")
    assert "</svg>" in (tmp_path / "rates.svg").read_text()
    draw(curve, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UserError, match=r"ends in \.png or \.svg"):
        draw(curve, tmp_path / "rates.pdf")


def test_the_command_says_and_draws_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data.train", "200", "--data.test", "100", "--device", "cpu", "--batch-size", "32"]
    picture = tmp_path / "rates.png"
    command("quickstart", *words, steps=6, end=0.1, picture=picture)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "6 steps, from 1e-05 to 0.1, without diverging"
    assert said[1].startswith("suggested rate")
    assert said[2] == str(picture)
    assert [path.name for path in tmp_path.iterdir()] == ["rates.png"]
