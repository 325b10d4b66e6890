"""Settings of devices that a recipe makes for the whole process."""

from collections.abc import Callable, Iterator

import pytest
import torch

from residua.devices import set_tf32
from residua.inference.evaluation import compute_logits
from residua.recipes.recipe import Recipe
from residua.training.loop import step
from residua.training.session import build_training

Tiny = Callable[..., Recipe]


def tf32_settings() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture(autouse=True)
def torch_defaults() -> Iterator[None]:
    """Convolutions on GPUs are rounded to TF32, matrix products are not."""
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False


@pytest.mark.parametrize(
    ("precision", "enabled"), [("float32", False), ("bfloat16", False), ("tf32", True)]
)
def test_training_rounds_to_tf32_only_where_its_recipe_says_so(
    tiny: Tiny, precision: str, enabled: bool
) -> None:
    set_tf32(not enabled)
    build_training(tiny(precision=precision))
    assert tf32_settings() == (enabled, enabled)


@pytest.mark.parametrize(("precision", "enabled"), [("float32", False), ("tf32", True)])
def test_inference_leaves_the_settings_of_the_process(precision: str, enabled: bool) -> None:
    seen = []

    def forward(images: torch.Tensor) -> torch.Tensor:
        seen.append(tf32_settings())
        return images.flatten(1)

    compute_logits(forward, torch.zeros(1, 3, 2, 2), precision)
    assert seen == [(enabled, enabled)]
    assert tf32_settings() == (True, False)


def test_tf32_is_float32_on_a_cpu(tiny: Tiny) -> None:
    losses = []
    for precision in ("float32", "tf32"):
        session, state = build_training(tiny(precision=precision))
        losses.append([step(session, state).item() for _ in range(3)])
    assert losses[0] == losses[1]
