"""The tables of a benchmark follow from its seconds."""

from pathlib import Path

import pytest
import torch
from speed.benchmark import save_bench
from speed.results import Bench, Comparison, Result, Sample, Startup, ratio
from speed.systems import RESNET20, common_training, system_recipe
from speed.tables import tables

from residua.data import Shapes100
from residua.models import training_flops


def make_result(
    name: str,
    seconds: list[float],
    first_step: float = 8.0,
    warm: float | None = None,
    wait: float = 0.0,
    memory: float = 100.0,
) -> Result:
    """A result with two steps in each sample."""
    return Result(
        name=name,
        description=f"description of {name}",
        cold_start=Startup(imported=first_step / 4, prepared=first_step / 2, first_step=first_step),
        warm_start=Startup(imported=1, prepared=2, first_step=warm) if warm else None,
        samples=tuple(
            Sample(steps=2, seconds=2 * each, wait_seconds=2 * wait, peak_memory_mib=memory)
            for each in seconds
        ),
    )


COMPARISON = Comparison(
    name="resnet20",
    batch_size=128,
    precision="float32",
    parameters=1,
    flops=1000,
    results=(
        make_result("ours", [1.0, 2.0, 1.0], memory=150),
        make_result("compiled", [0.5, 1.0, 0.5], first_step=58, warm=18),
        make_result("plain", [2.0, 6.0, 1.5], first_step=4, warm=2, wait=0.5),
        make_result("input", [0.01, 0.02, 0.02]),
        make_result("matmul", [0.1, 0.1, 0.2]),
    ),
)
BENCH = Bench(
    environment={
        "device": "cpu, 2 threads",
        "processor": "Processor (R) 9",
        "threads": 2,
        "packages": {"torch": "2.13.0"},
        "started": "2026-11-21T04:00:00+00:00",
    },
    data="shapes100",
    matmul_flops=200,
    training=(COMPARISON,),
    augmentation=(
        Comparison(
            name="crop-flip",
            batch_size=128,
            precision="float32",
            results=(make_result("ours", [1.0]), make_result("kornia_batch", [5.0])),
        ),
    ),
    skipped=("resnet20: lightning_trainer failed: no module",),
)


def with_results(*results: Result) -> Bench:
    return BENCH.replace(training=(COMPARISON.replace(results=results),))


def cells(text: str, *start: str) -> list[str]:
    """The other cells of the only row that starts with these cells."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    (row,) = [row for row in rows if row[: len(start)] == list(start)]
    return row[len(start) :]


def test_ratios_are_computed_for_each_round() -> None:
    assert ratio([2.0, 6.0, 1.5], [1.0, 2.0, 1.0]) == (2.0, 1.5, 3.0)


def test_speed_table() -> None:
    name = "`resnet20`, batch 128, float32"
    text = tables(BENCH)
    assert cells(text, "network", "loop", "× plain") == ["of matmul", "input, of a step"]
    # 1000 operations in 1, 2, 1 seconds, where a product does 200 in 0.1, 0.1, 0.2.
    assert cells(text, name, "`ours`") == [
        "2.00 (1.50–3.00)", "50 % (25–100)", "1.00 % (1.00–2.00)",
    ]  # fmt: skip
    assert cells(text, name, "`compiled`")[0] == "4.00 (3.00–6.00)"
    assert cells(text, name, "`plain`")[2] == "25.00 % (8.33–33.33)"


def test_startup_table() -> None:
    text = tables(BENCH)
    assert cells(text, "`resnet20`", "`ours`") == [
        "1.50", "2.00", "–", "25 / 25 / 50 %", "", "",
    ]  # fmt: skip
    # 50 seconds later than ours at the first step, half a second saved at each step.
    assert cells(text, "`resnet20`", "`compiled`")[-2:] == ["100", "20"]
    assert cells(text, "`resnet20`", "`plain`")[1:3] == ["1.00", "0.50"]


def test_compiling_that_saves_nothing_never_breaks_even() -> None:
    slow = with_results(make_result("ours", [1.0]), make_result("compiled", [1.0], first_step=58))
    text = tables(slow)
    assert cells(text, "`resnet20`", "`compiled`")[-2:] == ["never", "never"]
    assert cells(text, "`resnet20`, batch 128, float32", "`ours`") == ["–", "–"]


def test_augmentation_table_and_skipped_entries() -> None:
    text = tables(BENCH)
    assert cells(text, "crop-flip, batch 128") == ["5.00 (5.00–5.00)"]
    assert "Skipped: resnet20: lightning_trainer failed: no module." in text
    assert "- `compiled`: description of compiled" in text


def test_bfloat16_is_our_loop_and_compiles_nothing() -> None:
    half = make_result("bfloat16", [0.5, 1.0, 0.5])
    text = tables(with_results(*COMPARISON.results, half))
    assert "× bfloat16" not in text
    startup = text[text.index("Memory and start-up") :]
    assert cells(startup, "`resnet20`", "`bfloat16`")[-2:] == ["", ""]


def test_files_are_named_after_the_machine_and_never_overwritten(tmp_path: Path) -> None:
    first, second = (save_bench(BENCH, tmp_path / "bench") for _ in range(2))
    assert first.name == "processor-r-9-2-threads-2026-11-21.json"
    assert second.name == "processor-r-9-2-threads-2026-11-21-1.json"
    assert Bench.model_validate_json(second.read_text()) == BENCH


@pytest.mark.parametrize(("name", "giga"), [("resnet20", 0.041), ("resnet44", 1.46)])
def test_flops_include_forward_and_both_gradients(name: str, giga: float) -> None:
    """Three times the forward pass, without the gradient of the images."""
    network = system_recipe(name).architecture.build(100)
    assert training_flops(network) == pytest.approx(6 * giga * 1e9, rel=0.02)


def test_all_entries_train_the_network_of_the_recipe() -> None:
    recipe = system_recipe("wrn28_10")
    common = common_training(recipe, Shapes100(train=256), 64, "cpu", "bfloat16")
    assert common.architecture == recipe.architecture
    assert (common.batch_size, common.precision, common.device) == (64, "bfloat16", "cpu")
    assert common.augmentation == RESNET20.augmentation
    assert isinstance(common.architecture.build(10)(torch.ones(1, 3, 32, 32)), torch.Tensor)
