"""The operations that a log states."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from residua import fit
from residua.models import training_flops
from residua.recipes.recipe import Recipe
from residua.reports.run_data import RunData
from residua.reports.run_report.network import training_cost
from residua.runs.run import Run

Tiny = Callable[..., Recipe]


@pytest.mark.parametrize("drop_last", [False, True])
def test_log_states_the_operations_of_each_epoch(
    tiny: Tiny, tmp_path: Path, drop_last: bool
) -> None:
    """The image size changes after one and a half epochs; each SAM step computes twice."""
    sizes = {"kind": "phases", "boundaries": [1.5], "values": [16, 32]}
    recipe = tiny(image_size=sizes, sam={"kind": "sam"}, epochs=2, drop_last=drop_last)
    run = fit(recipe, tmp_path / "run")
    small, large = (training_flops(recipe.architecture.build(100), size) for size in (16, 32))
    # Batches of 64, 64, 64 and, if it is not dropped, 8 images.
    images = [64, 64, 64] + [8] * (not drop_last)
    changes = math.ceil(1.5 * len(images)) - len(images)
    second = sum(images[:changes]) * small + sum(images[changes:]) * large
    assert [record.flops for record in run.log] == [2 * sum(images) * small, 2 * second]
    result = run.result
    assert result is not None
    assert result.flops == sum(record.flops or 0 for record in run.log)
    assert training_cost(RunData.read(run), 100, 32) == result.flops
    assert run.log[0].flops_per_second == 2 * sum(images) * small / run.log[0].seconds


def test_older_logs_have_no_operations(tiny: Tiny, tmp_path: Path) -> None:
    run = fit(tiny(epochs=2), tmp_path / "run")
    counted = training_cost(RunData.read(run), 100, 32)
    run.rewrite_log([record.replace(flops=None) for record in run.log])
    older = RunData.read(Run.open(run.path))
    assert older.records[0].flops_per_second is None
    assert training_cost(older, 100, 32) == pytest.approx(counted, rel=1e-3)
