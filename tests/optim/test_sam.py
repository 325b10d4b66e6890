"""SAM against its two steps written out; batch-norm statistics; training with it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks import IMAGES, small_network
from torch import Tensor, nn

from residua.optim import SAM
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.schedules import Linear, TrainingProgress
from residua.training.loop import step, train
from residua.training.session import build_session, build_state

Tiny = Callable[..., Recipe]
PROGRESS = TrainingProgress(5, 10, 1)


def gradients_of(network: nn.Module, scale: float = 1.0) -> Callable[[], tuple[Tensor, Tensor]]:
    def compute_gradients() -> tuple[Tensor, Tensor]:
        logits = network(IMAGES)
        loss = logits.square().sum()
        torch.autograd.backward(loss * scale)
        return loss.detach(), logits.detach()

    return compute_gradients


def expected_gradients(network: nn.Module, rho: float) -> tuple[float, list[Tensor]]:
    """The loss at the weights; the gradients at a distance of rho along the gradient."""
    loss = network(IMAGES).square().sum()
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    with torch.no_grad():
        for weight, gradient in zip(network.parameters(), gradients, strict=True):
            weight.add_(rho * gradient / norm)
    perturbed = network(IMAGES).square().sum()
    return float(loss.detach()), list(torch.autograd.grad(perturbed, list(network.parameters())))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Identity()])
@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_gradients_are_those_at_the_perturbed_weights(norm: nn.Module, scale: float) -> None:
    ours, reference = small_network(norm), small_network(norm)
    before = [weight.detach().clone() for weight in ours.parameters()]
    sam = SAM(rho=Linear(start=0.0, end=0.4))
    loss, logits = sam(ours, PROGRESS, gradients_of(ours, scale))
    torch.testing.assert_close(logits, reference(IMAGES))
    expected_loss, expected = expected_gradients(reference, 0.2)
    assert float(loss) == pytest.approx(expected_loss)
    for weight, gradient, old in zip(ours.parameters(), expected, before, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad / scale, gradient, atol=1e-4, rtol=1e-3)
        assert torch.equal(weight, old)


def test_running_statistics_are_updated_once_a_step() -> None:
    ours, reference = small_network(), small_network()
    SAM(rho=0.5)(ours, PROGRESS, gradients_of(ours))
    gradients_of(reference)()
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(ours[1], name), getattr(reference[1], name))
    ours.eval()(IMAGES)


def test_rho_of_zero_equals_training_without_sam(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"epochs": 2, "architecture__dropout": 0.3}
    recipes = {
        "plain": tiny(**changes),
        "zero": tiny(**changes, sam={"rho": 0.0}),
        "some": tiny(**changes, sam={"rho": 0.3}),
    }
    losses = {}
    for name, recipe in recipes.items():
        list(train(recipe, tmp_path / name))
        losses[name] = [record.train_loss for record in Run.open(tmp_path / name).log]
    assert losses["zero"] == losses["plain"]
    assert losses["some"] != losses["plain"]


def test_both_passes_of_a_step_have_the_same_images_and_dropout(tiny: Tiny) -> None:
    session = build_session(tiny(architecture__dropout=0.5, sam={"kind": "sam"}))
    state = build_state(session)
    inputs: list[Tensor] = []
    masks: list[Tensor] = []
    state.network.register_forward_pre_hook(lambda _, images: inputs.append(images[0]))
    dropout = state.network.head[-2]
    dropout.register_forward_hook(lambda _, given, out: masks.append((out == 0) & (given[0] != 0)))
    step(session, state)
    assert len(inputs) == len(masks) == 2
    assert torch.equal(inputs[0], inputs[1])
    either = masks[0] | masks[1]
    assert float((masks[0] & masks[1])[either].float().mean()) > 0.9
