"""SAM against its two steps written out; what it leaves alone; training with it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from residua.optim import SAM
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.schedules import Linear, TrainingProgress
from residua.training.loop import step, train
from residua.training.session import build_training

Tiny = Callable[..., Recipe]
NOW = TrainingProgress(5, 10, 1)
IMAGES = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def running(net: nn.Module, scale: float = 1.0) -> Callable[[], tuple[Tensor, Tensor]]:
    def gradients() -> tuple[Tensor, Tensor]:
        logits = net(IMAGES)
        loss = logits.square().sum()
        torch.autograd.backward(loss * scale)
        return loss.detach(), logits.detach()

    return gradients


def by_hand(net: nn.Module, rho: float) -> tuple[float, list[Tensor]]:
    """Loss at the weights; gradients rho up the hill."""
    loss = net(IMAGES).square().sum()
    slopes = torch.autograd.grad(loss, list(net.parameters()))
    length = torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt()
    with torch.no_grad():
        for weight, slope in zip(net.parameters(), slopes, strict=True):
            weight.add_(rho * slope / length)
    above = net(IMAGES).square().sum()
    return float(loss.detach()), list(torch.autograd.grad(above, list(net.parameters())))


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_gradients_are_those_a_distance_up_the_hill(scale: float) -> None:
    ours, theirs = network(), network()
    weights = [weight.detach().clone() for weight in ours.parameters()]
    sam = SAM(rho=Linear(start=0.0, end=0.4))
    loss, logits = sam(ours, NOW, running(ours, scale))
    wanted, slopes = by_hand(theirs, 0.2)
    assert float(loss) == pytest.approx(wanted)
    for weight, slope, before in zip(ours.parameters(), slopes, weights, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad / scale, slope, atol=1e-4, rtol=1e-3)
        assert torch.equal(weight, before)
    torch.testing.assert_close(logits, network()(IMAGES))


def test_normalisation_sees_the_batch_once() -> None:
    ours, once = network(), network()
    SAM(rho=0.5)(ours, NOW, running(ours))
    running(once)()
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(ours[1], name), getattr(once[1], name))
    ours.eval()(IMAGES)


def test_a_distance_of_nothing_changes_nothing(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"epochs": 2, "architecture__dropout": 0.3}
    list(train(tiny(**changes), tmp_path / "plain"))
    list(train(tiny(**changes, sam={"rho": 0.0}), tmp_path / "nothing"))
    list(train(tiny(**changes, sam={"rho": 0.3}), tmp_path / "some"))
    plain, nothing, some = (
        [record.train_loss for record in Run.open(tmp_path / name).log]
        for name in ("plain", "nothing", "some")
    )
    assert nothing == plain
    assert some != plain


def test_both_runs_of_a_step_see_the_same_images_and_dropout(tiny: Tiny) -> None:
    session, state = build_training(tiny(architecture__dropout=0.5, sam={"kind": "sam"}))
    seen: list[Tensor] = []
    masks: list[Tensor] = []
    state.network.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    dropout = state.network.head[-2]
    dropout.register_forward_hook(lambda _, given, out: masks.append((out == 0) & (given[0] != 0)))
    step(session, state)
    assert len(seen) == len(masks) == 2
    assert torch.equal(seen[0], seen[1])
    both = masks[0] | masks[1]
    assert float((masks[0] & masks[1])[both].float().mean()) > 0.9
