"""No step makes the host wait for a GPU: tried on a CPU, by the operations that would."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from residua.recipes import built_in as recipes
from residua.recipes.recipe import Recipe
from residua.training.events import Started, StepFinished
from residua.training.loop import step, train
from residua.training.session import build_training

Tiny = Callable[..., Recipe]
WAITS = {
    "_local_scalar_dense": "reads a number",
    "nonzero": "gives as many places as there are",
    "masked_select": "gives as many values as there are",
    "equal": "reads a truth",
    "lift_fresh": "brings numbers from the host",
    "repeat_interleave": "gives as many values as there are",
    "_unique2": "gives as many values as there are",
}


class Waits(TorchDispatchMode):
    """Notes every operation that would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS:
            self.seen.append(f"{name} {WAITS[name]}")
        places = args[1] if name in ("index", "index_put", "index_put_") else []
        if any(each is not None and each.dtype == torch.bool for each in places):
            self.seen.append(f"{name} by truths gives as many values as there are")
        return func(*args, **(kwargs or {}))


def waits(recipe: Recipe) -> list[str]:
    """Of the second step: the first may bring constants to the device."""
    session, state = build_training(recipe)
    step(session, state)
    with Waits() as mode:
        step(session, state)
    return mode.seen


@pytest.mark.parametrize("name", ["resnet44", "resnet44v2", "resnet26w", "wrn28_10", "pocket"])
def test_no_step_of_a_published_system_waits(tiny: Tiny, name: str) -> None:
    known = recipes.built_in(name)
    fields = ("augmentation", "loss", "optimizer", "image_size", "max_grad_norm")
    recipe = tiny(epochs=known.epochs).model_copy(
        update={field: getattr(known, field) for field in fields}
    )
    assert waits(recipe) == []


def test_what_a_recipe_may_add_does_not_wait(tiny: Tiny) -> None:
    recipe = tiny(
        weight_average={"kind": "ema", "decay": 0.9},
        max_grad_norm=1.0,
        sam={"kind": "sam"},
        gradient_accumulation=3,
        augmentation=[{"kind": "cutout"}, {"kind": "random_erasing"}, {"kind": "mixup"}],
        architecture__stochastic_depth={"kind": "linear", "start": 0.5, "end": 0.2},
    )
    assert waits(recipe) == []


def test_between_steps_only_the_watch_waits(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is not finite is looked for now and then; the loop reads nothing else."""
    monkeypatch.setattr(training, "WATCHED", 3)
    events = train(tiny(batch_size=20), tmp_path / "run")
    assert isinstance(next(events), Started)
    assert isinstance(next(events), StepFinished)
    looks = []
    for number in range(2, 10):
        with Waits() as mode:
            event = next(events)
        assert isinstance(event, StepFinished)
        looks += [number] if mode.seen else []
    assert looks == [3, 6, 9]


def test_waits_are_seen(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch itself: a policy sorts images by operation, which takes one look."""
    assert waits(tiny(augmentation=[{"kind": "trivial_augment"}])) != []
    values = torch.arange(3.0)
    for wait in (
        lambda: values.sum().item(),
        lambda: values[values > 1],
        lambda: torch.tensor([1.0]),
    ):
        with Waits() as mode:
            wait()
        assert mode.seen
