"""What the tables say follows from the seconds."""

import pytest
import torch
from speed import keep, tables
from speed.figures import Bench, Lap, Race, Racer, Start, ratio
from speed.systems import RESNET20, comparable, system

from residua.data import Shapes100
from residua.models import training_flops


def racer(
    name: str,
    seconds: list[float],
    first: float = 8.0,
    warm: float | None = None,
    waited: float = 0.0,
    memory: float = 100.0,
) -> Racer:
    """Two steps a lap."""
    return Racer(
        name=name,
        does=f"does {name}",
        cold=Start(imported=first / 4, prepared=first / 2, first=first),
        warm=warm and Start(imported=1, prepared=2, first=warm),
        laps=tuple(
            Lap(steps=2, seconds=2 * each, waited=2 * waited, memory_mib=memory) for each in seconds
        ),
    )


RACE = Race(
    name="resnet20",
    batch_size=128,
    precision="float32",
    parameters=1,
    flops=1000,
    racers=(
        racer("ours", [1.0, 2.0, 1.0], memory=150),
        racer("compiled", [0.5, 1.0, 0.5], first=58, warm=18),
        racer("plain", [2.0, 6.0, 1.5], first=4, warm=2, waited=0.5),
        racer("input", [0.01, 0.02, 0.02]),
        racer("product", [0.1, 0.1, 0.2]),
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
    product_flops=200,
    races=(RACE,),
    augmentations=(
        Race(
            name="crop-flip",
            batch_size=128,
            precision="float32",
            racers=(racer("ours", [1.0]), racer("kornia_batch", [5.0])),
        ),
    ),
    skipped=("resnet20: lightning_trainer broke down: no module",),
)


def cells(text: str, *start: str) -> list[str]:
    """The one row whose first cells are these."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    (found,) = [row for row in rows if row[: len(start)] == list(start)]
    return found[len(start) :]


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio([2.0, 6.0, 1.5], [1.0, 2.0, 1.0]) == (2.0, 1.5, 3.0)


def test_speed() -> None:
    name = "`resnet20`, batch 128, float32"
    text = tables(BENCH)
    assert cells(text, "network", "loop", "× plain") == ["of the product", "input, of a step"]
    # 1000 operations in 1, 2, 1 seconds, where a product does 200 in 0.1, 0.1, 0.2.
    assert cells(text, name, "`ours`") == [
        "2.00 (1.50–3.00)", "50 % (25–100)", "1.00 % (1.00–2.00)",
    ]  # fmt: skip
    assert cells(text, name, "`compiled`")[0] == "4.00 (3.00–6.00)"
    assert cells(text, name, "`plain`")[2] == "25.00 % (8.33–33.33)"


def test_starts() -> None:
    text = tables(BENCH)
    assert cells(text, "`resnet20`", "`ours`") == [
        "1.50", "2.00", "–", "25 / 25 / 50 %", "", "",
    ]  # fmt: skip
    # 50 seconds later than ours at the first step, half a second won at every step.
    assert cells(text, "`resnet20`", "`compiled`")[-2:] == ["100", "20"]
    assert cells(text, "`resnet20`", "`plain`")[1:3] == ["1.00", "0.50"]


def test_compiling_that_wins_nothing_never_pays() -> None:
    racers = (racer("ours", [1.0]), racer("compiled", [1.0], first=58))
    slow = BENCH.model_copy(update={"races": (RACE.model_copy(update={"racers": racers}),)})
    text = tables(slow)
    assert cells(text, "`resnet20`", "`compiled`")[-2:] == ["never", "never"]
    assert cells(text, "`resnet20`, batch 128, float32", "`ours`") == ["–", "–"]


def test_augmentation_and_who_is_left_out() -> None:
    text = tables(BENCH)
    assert cells(text, "crop-flip, batch 128") == ["5.00 (5.00–5.00)"]
    assert "Left out: resnet20: lightning_trainer broke down: no module." in text
    assert "- `compiled`: does compiled" in text


def test_records_have_the_machines_name_and_replace_nothing(tmp_path_factory) -> None:
    home = tmp_path_factory.mktemp("bench")
    first, second = keep(BENCH, home / "bench"), keep(BENCH, home / "bench")
    assert first.name == "processor-r-9-2-threads-2026-11-21.json"
    assert second.name == "processor-r-9-2-threads-2026-11-21-1.json"
    assert Bench.model_validate_json(second.read_text()) == BENCH


@pytest.mark.parametrize(("name", "giga"), [("resnet20", 0.041), ("resnet44", 1.46)])
def test_arithmetic_is_that_of_forward_and_both_gradients(name: str, giga: float) -> None:
    """Three times the forward pass, but for the gradient of the images, which nobody needs."""
    network = system(name).architecture.build(100)
    assert training_flops(network) == pytest.approx(6 * giga * 1e9, rel=0.02)


def test_contenders_train_the_recipes_own_network() -> None:
    recipe = system("wrn28_10")
    work = comparable(recipe, Shapes100(train=256), 64, "cpu", "bfloat16")
    assert work.architecture == recipe.architecture
    assert (work.batch_size, work.precision, work.device) == (64, "bfloat16", "cpu")
    assert work.augmentation == RESNET20.augmentation
    assert isinstance(work.architecture.build(10)(torch.ones(1, 3, 32, 32)), torch.Tensor)


def test_bfloat16_is_ours_and_compiles_nothing() -> None:
    half = racer("bfloat16", [0.5, 1.0, 0.5])
    race = RACE.model_copy(update={"racers": (*RACE.racers, half)})
    text = tables(BENCH.model_copy(update={"races": (race,)}))
    assert "× bfloat16" not in text
    starts = text[text.index("Memory and start") :]
    assert cells(starts, "`resnet20`", "`bfloat16`")[-2:] == ["", ""]
