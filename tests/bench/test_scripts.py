"""Profiles and shapes: what the scripts beside the package measure is what they say."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from speed.systems import system

from residua.models import training_flops
from residua.recipes.recipe import Recipe
from residua.training.session import build_session

ROOT = Path(__file__).parent.parent.parent


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / f"benchmarks/{name}.py"))


def test_the_parts_of_a_step_are_told_apart(tiny: Callable[..., Recipe]) -> None:
    session, _ = build_session(tiny())
    shares = script("profile_step")["shares"](session, 2)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in shares.values())
    without = tiny(
        augmentation=[], architecture__activation="silu", architecture__pooling={"kind": "max"}
    )
    lighter = script("profile_step")["shares"](build_session(without)[0], 2)
    assert lighter["activation"] > 0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["aten::mkldnn_convolution", "aten::convolution"], "convolution"),
        (["aten::native_batch_norm_backward", "autograd: NativeBatchNormBackward0"],
         "batch normalisation"),
        (["aten::add", "augmentation"], "augmentation"),
        (["aten::_fused_sgd_", "Optimizer.step#SGD.step"], "optimiser"),
        (["aten::threshold_backward"], "activation"),
        (["aten::index"], "rest"),
    ],
)  # fmt: skip
def test_an_operation_belongs_to_its_outermost_part(names: list[str], expected: str) -> None:
    class Event:
        def __init__(self, names: list[str]) -> None:
            self.name = names[0]
            self.cpu_parent = Event(names[1:]) if names[1:] else None

    assert script("profile_step")["part"](Event(names)) == expected


def test_shapes_are_all_convolutions_of_a_system() -> None:
    module = script("convolutions")
    found = list(module["shapes"]("resnet20"))
    assert len(found) == 21
    assert found.count(module["Shape"](16, 16, 3, 1, 32)) == 6
    assert found.count(module["Shape"](32, 64, 1, 2, 16)) == 1
    forward = sum(shape.flops(1) for shape in found)
    linear, images = 2 * 64 * 100, 2 * 32 * 32 * 16 * 27
    counted = training_flops(system("resnet20").architecture.build(100))
    assert counted == 3 * (forward + linear) - images
