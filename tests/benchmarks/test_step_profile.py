"""profile_step.py and convolutions.py measure what they claim to."""

from collections.abc import Callable

import convolutions
import profile_step
import pytest
from speed.systems import system_recipe

from residua.models import training_flops
from residua.recipes.recipe import Recipe


def test_shares_of_a_step(tiny: Callable[..., Recipe]) -> None:
    shares = profile_step.shares(tiny(), 2)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in shares.values())
    without = tiny(
        augmentation=[], architecture__activation="silu", architecture__pooling={"kind": "max"}
    )
    shares = profile_step.shares(without, 2)
    assert shares["activation"] > 0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["aten::mkldnn_convolution", "aten::convolution"], "convolution"),
        (["aten::native_batch_norm_backward", "autograd: NativeBatchNormBackward0"], "batch norm"),
        (["aten::add", "augmentation"], "augmentation"),
        (["aten::_fused_sgd_", "Optimizer.step#SGD.step"], "optimizer"),
        (["aten::threshold_backward"], "activation"),
        (["aten::index"], "rest"),
    ],
)
def test_an_operation_belongs_to_the_part_of_its_outermost_caller(
    names: list[str], expected: str
) -> None:
    class Event:
        def __init__(self, names: list[str]) -> None:
            self.name = names[0]
            self.cpu_parent = Event(names[1:]) if names[1:] else None

    assert profile_step.part(Event(names)) == expected


def test_convolution_shapes_of_a_system() -> None:
    shapes = list(convolutions.conv_shapes("resnet20"))
    assert len(shapes) == 21
    assert shapes.count(convolutions.ConvShape(16, 16, 3, 1, 32)) == 6
    assert shapes.count(convolutions.ConvShape(32, 64, 1, 2, 16)) == 1
    forward = sum(shape.flops(1) for shape in shapes)
    linear, images = 2 * 64 * 100, 2 * 32 * 32 * 16 * 27
    counted = training_flops(system_recipe("resnet20").architecture.build(100))
    assert counted == 3 * (forward + linear) - images
