"""No step makes the host wait for a GPU: tested on a CPU, by the operations that would."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from residua.augment import color_ops
from residua.recipes import built_in
from residua.recipes.recipe import Recipe
from residua.training.events import Started, StepFinished
from residua.training.loop import step, train
from residua.training.session import build_training

Tiny = Callable[..., Recipe]
WAITS = {
    "_local_scalar_dense": "reads a number",
    "nonzero": "has an output of unknown size",
    "masked_select": "has an output of unknown size",
    "equal": "reads a boolean",
    "lift_fresh": "brings numbers from the host",
    "repeat_interleave": "has an output of unknown size",
    "_unique2": "has an output of unknown size",
    "bincount": "has an output of unknown size",
}


class Waits(TorchDispatchMode):
    """Records every operation that would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS:
            self.seen.append(f"{name} {WAITS[name]}")
        places = args[1] if name in ("index", "index_put", "index_put_") else []
        if any(each is not None and each.dtype == torch.bool for each in places):
            self.seen.append(f"{name} by booleans has an output of unknown size")
        return func(*args, **(kwargs or {}))


def waits(recipe: Recipe) -> list[str]:
    """Of the second step: the first may bring constants to the device."""
    session, state = build_training(recipe)
    step(session, state)
    with Waits() as mode:
        step(session, state)
    return mode.seen


@pytest.mark.parametrize("name", ["resnet44", "resnet44v2", "resnet26w", "wrn28_10", "pocket"])
def test_steps_of_published_systems_do_not_wait(tiny: Tiny, name: str) -> None:
    known = built_in.built_in(name)
    fields = ("augmentation", "loss", "optimizer", "image_size", "max_grad_norm")
    changes = {field: getattr(known, field) for field in fields}
    assert waits(tiny(epochs=known.epochs).replace(**changes)) == []


def test_steps_with_optional_features_do_not_wait(tiny: Tiny) -> None:
    recipe = tiny(
        weight_average={"kind": "ema", "decay": 0.9},
        max_grad_norm=1.0,
        sam={"kind": "sam"},
        gradient_accumulation=3,
        augmentation=[{"kind": "cutout"}, {"kind": "random_erasing"}, {"kind": "mixup"}],
        architecture__stochastic_depth={"kind": "linear", "start": 0.5, "end": 0.2},
    )
    assert waits(recipe) == []


@pytest.mark.parametrize("kind", ["rand_augment", "trivial_augment", "auto_augment"])
def test_policies_do_not_wait_on_a_gpu(
    kind: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU they sort images by operation, which is faster there, and would wait."""
    recipe = tiny(augmentation=[{"kind": kind}])
    assert waits(recipe) != []
    monkeypatch.setattr(color_ops, "apply_to_chosen", color_ops.apply_to_all)
    assert waits(recipe) == []


def test_only_the_finite_check_waits_between_steps(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop reads nothing from the device but for the check that the loss is finite."""
    monkeypatch.setattr("residua.training.loop.FINITE_CHECK_EVERY", 3)
    events = train(tiny(batch_size=20), tmp_path / "run")
    assert isinstance(next(events), Started)
    assert isinstance(next(events), StepFinished)
    waiting = []
    for number in range(2, 10):
        with Waits() as mode:
            event = next(events)
        assert isinstance(event, StepFinished)
        waiting += [number] if mode.seen else []
    assert waiting == [3, 6, 9]


def test_waiting_operations_are_detected() -> None:
    values = torch.arange(3.0)
    for wait in (
        lambda: values.sum().item(),
        lambda: values[values > 1],
        lambda: torch.tensor([1.0]),
    ):
        with Waits() as mode:
            wait()
        assert mode.seen
