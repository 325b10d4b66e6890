"""The learning-rate range test: its rates, the suggestion, the plot; and that it writes no run."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from residua import UserError
from residua.cli import main
from residua.recipes.recipe import Recipe
from residua.training.lr_finder import DIVERGENCE_FACTOR, LRCurve, find_lr, save_plot

Tiny = Callable[..., Recipe]


def test_lr_rises_exponentially_and_loss_falls_then_rises(tiny: Tiny) -> None:
    """Each step uses every image without augmentation, so the loss falls at once."""
    recipe = tiny(augmentation=[], batch_size=200)
    curve = find_lr(recipe, start=1e-3, end=100.0, steps=24)
    factor = (100.0 / 1e-3) ** (1 / 23)
    assert curve.lrs[0] == pytest.approx(1e-3)
    for before, after in zip(curve.lrs, curve.lrs[1:], strict=False):
        assert after / before == pytest.approx(factor)
    assert len(curve.lrs) == len(curve.losses) == len(curve.smoothed) == 24
    sums = weights = 0.0
    for loss, smooth in zip(curve.losses, curve.smoothed, strict=True):
        sums, weights = 0.9 * sums + loss, 0.9 * weights + 1
        assert smooth == pytest.approx(sums / weights)
    assert curve.smoothed[0] > curve.smoothed[12] > curve.smoothed[16] > min(curve.smoothed)
    assert 0.1 < curve.suggestion < 10


def test_weight_averaging_does_not_change_the_curve(tiny: Tiny) -> None:
    plain = find_lr(tiny(), steps=4)
    assert find_lr(tiny(weight_average={"kind": "ema", "decay": 0.9}), steps=4) == plain


def test_diverging_loss_ends_the_test_early(tiny: Tiny) -> None:
    recipe = tiny(optimizer__momentum=0.0)
    curve = find_lr(recipe, start=1e-3, end=1e12, steps=40)
    assert curve.diverged
    assert len(curve.lrs) < 40
    assert max(curve.smoothed) <= DIVERGENCE_FACTOR * min(curve.smoothed)
    assert all(math.isfinite(loss) for loss in curve.losses)
    complete = find_lr(recipe, start=1e-6, end=1e-4, steps=5)
    assert not complete.diverged
    assert complete.lrs[-1] == pytest.approx(1e-4)


def test_suggestion_is_a_tenth_of_the_lr_with_least_smoothed_loss() -> None:
    curve = LRCurve((0.1, 0.2, 0.4, 0.8), (4, 3, 1, 2), (4, 3.5, 2.5, 2.6), False)
    assert curve.suggestion == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("start", "end", "steps"), [(0, 1, 9), (1, 1, 9), (1, math.inf, 9), (1, 2, 1)]
)
def test_invalid_range_is_rejected(tiny: Tiny, start: float, end: float, steps: int) -> None:
    with pytest.raises(UserError, match="at least 2 steps"):
        find_lr(tiny(), start, end, steps)


def test_plot_is_written_as_svg_or_png(tmp_path: Path) -> None:
    curve = LRCurve((0.1, 0.2, 0.4), (4, 3, 1), (4, 3.5, 2.5), False)
    save_plot(curve, tmp_path / "lr.svg")
    assert "</svg>" in (tmp_path / "lr.svg").read_text()
    save_plot(curve, tmp_path / "lr.png")
    assert (tmp_path / "lr.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UserError, match=r"ends in \.png or \.svg"):
        save_plot(curve, tmp_path / "lr.pdf")


def test_command_prints_the_suggestion_and_writes_only_the_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["--data.train", "200", "--data.test", "100", "--device", "cpu"]
    overrides += ["--batch-size", "32"]
    plot = tmp_path / "lr.png"
    options = ["--steps", "6", "--end", "0.1", "--plot", str(plot)]
    main(["find-lr", "quickstart", *overrides, *options])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "6 steps, learning rate from 1e-05 to 0.1; the loss did not diverge"
    assert lines[1].startswith("suggested learning rate")
    assert lines[2] == str(plot)
    assert [path.name for path in tmp_path.iterdir()] == ["lr.png"]
