"""Optimisers and averages against their formulae."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from residua.optim import EMA, SGD, Muon, swapped_weights
from residua.optim.muon import newton_schulz
from residua.schedules import Linear, TrainingProgress


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def descend(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        net(torch.randn(4, 3, 4, 4, generator=generator)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_equals_torch(nesterov: bool) -> None:
    ours, theirs = network(), network()
    recipe = SGD(lr=0.01, momentum=0.8, nesterov=nesterov, weight_decay=1e-2)
    descend(ours, recipe.build(ours), 5)
    reference = torch.optim.SGD(
        theirs.parameters(), 0.01, 0.8, nesterov=nesterov, weight_decay=1e-2
    )
    descend(theirs, reference, 5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_decay_leaves_norms_and_biases_alone_where_asked() -> None:
    for decay_filter, moves in (("all", True), ("weights", False)):
        net = network()
        recipe = SGD.model_validate({"lr": 0.1, "weight_decay": 0.5, "decayed": decay_filter})
        optimizer = recipe.build(net)
        for weight in net.parameters():
            weight.grad = torch.zeros_like(weight)
        before = [weight.detach().clone() for weight in net.parameters()]
        optimizer.step()
        for was, now in zip(before, net.parameters(), strict=True):
            if now.ndim > 1:
                torch.testing.assert_close(now, was * 0.95)
            elif was.abs().sum() > 0:
                assert torch.equal(now, was) is not moves


def test_numbers_follow_the_clock() -> None:
    net = network()
    recipe = SGD(lr=Linear(start=1, end=0), momentum=Linear(start=0.9, end=0.5), weight_decay=0.1)
    optimizer = recipe.build(net)
    recipe.set_progress(optimizer, TrainingProgress(5, 10, 1))
    for group in optimizer.param_groups:
        assert (group["lr"], group["momentum"]) == pytest.approx((0.5, 0.7))


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValidationError, match="nesterov needs"):
        SGD(nesterov=True, momentum=0.0)


def test_ema_equals_its_sum() -> None:
    net = network()
    ema = EMA(decay=0.9)
    average, wanted = ema.build(net), net[0].weight.detach().clone()
    optimizer = SGD(lr=0.01).build(net)
    for step in range(4):
        descend(net, optimizer, 1)
        ema.update(average, net, TrainingProgress(step, 4, 1))
        wanted = 0.9 * wanted + 0.1 * net[0].weight.detach()
    torch.testing.assert_close(average["0.weight"], wanted)
    assert int(average["1.num_batches_tracked"]) == 4


def test_holding_other_weights_gives_the_own_ones_back() -> None:
    net = network()
    own = net[0].weight.detach().clone()
    other = {name: torch.zeros_like(value) for name, value in net.state_dict().items()}
    with swapped_weights(net, other):
        assert not net[0].weight.any()
    assert torch.equal(net[0].weight, own)
    with swapped_weights(net, {}):
        assert torch.equal(net[0].weight, own)


def test_orthogonalised_filters_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((16, 4, 3, 3), (64, 4, 3, 3)):
        values = torch.linalg.svdvals(newton_schulz(torch.randn(shape), 6).flatten(1))
        assert 0.5 < values.min() < values.max() < 1.4
    gradient = torch.randn(8, 4, 3, 3)
    left, _, right = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
    nearest, ours = left @ right, newton_schulz(gradient, 6).flatten(1)
    assert torch.cosine_similarity(nearest.flatten(), ours.flatten(), dim=0) > 0.98


def test_muon_moves_filters_by_its_rule_and_the_rest_by_sgd() -> None:
    ours, theirs = network(), network()
    recipe = Muon(lr=0.2, momentum=0.6, aux=SGD(lr=0.01, momentum=0.8, nesterov=True))
    optimizer = recipe.build(ours)
    reference = torch.optim.SGD(
        [weight for weight in theirs.parameters() if weight.ndim != 4],
        0.01, 0.8, nesterov=True, weight_decay=5e-4,
    )  # fmt: skip
    filters, momentum = theirs[0].weight, torch.zeros_like(theirs[0].weight)
    for step in range(3):
        descend(ours, optimizer, 1)
        images = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        theirs.zero_grad()
        theirs(images).square().sum().backward()
        reference.step()
        with torch.no_grad():
            assert filters.grad is not None
            momentum = 0.6 * momentum + filters.grad
            ahead = filters.grad + 0.6 * momentum
            filters.mul_(len(filters) ** 0.5 / filters.norm())
            filters.sub_(0.2 * newton_schulz(ahead, 3))
        for name, value in ours.named_parameters():
            wanted = theirs.get_parameter(name)
            torch.testing.assert_close(value, wanted, atol=1e-3, rtol=1e-2, msg=f"{name} {step}")
