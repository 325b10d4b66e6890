"""Optimisers against torch or their formula: schedules, weight decay, float16 overflow."""

from typing import Any

import pytest
import torch
from networks import small_network, train_steps
from pydantic import TypeAdapter, ValidationError
from torch import nn

from residua.optim import SGD, AdamW, Muon, Optimizer
from residua.optim.muon import newton_schulz
from residua.schedules import Linear, TrainingProgress

OPTIMIZERS = [SGD(lr=0.01), AdamW(lr=0.01), Muon(lr=0.01)]


def assert_equal_weights(actual: nn.Module, expected: nn.Module) -> None:
    for a, b in zip(actual.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_equals_torch(nesterov: bool) -> None:
    ours, reference = small_network(), small_network()
    settings: dict[str, Any] = {"momentum": 0.8, "nesterov": nesterov, "weight_decay": 1e-2}
    train_steps(ours, SGD(lr=0.01, **settings).build(ours), 5)
    train_steps(reference, torch.optim.SGD(reference.parameters(), 0.01, **settings), 5)
    assert_equal_weights(ours, reference)


def test_adamw_equals_torch() -> None:
    # Before batch norm the gradient of a bias is rounding noise, which Adam would scale up.
    ours, reference = small_network(nn.ReLU()), small_network(nn.ReLU())
    settings: dict[str, Any] = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    train_steps(ours, AdamW(lr=0.02, **settings).build(ours), 8)
    plain = torch.optim.AdamW(reference.parameters(), 0.02, **settings, foreach=False)
    train_steps(reference, plain, 8)
    assert_equal_weights(ours, reference)


def test_adamw_with_schedules_equals_torch_with_changed_settings() -> None:
    ours, reference = small_network(nn.ReLU()), small_network(nn.ReLU())
    recipe = AdamW(
        lr=Linear(start=0.1, end=0.0),
        betas=(Linear(start=0.5, end=0.9), 0.9),
        weight_decay=Linear(start=0.0, end=0.4),
    )
    optimizer = recipe.build(ours)
    plain = torch.optim.AdamW(reference.parameters(), foreach=False)
    for step in range(4):
        recipe.set_progress(optimizer, TrainingProgress(step, 4, 1))
        done = step / 4
        changes = {
            "lr": 0.1 * (1 - done),
            "betas": (0.5 + 0.4 * done, 0.9),
            "weight_decay": 0.4 * done,
        }
        plain.param_groups[0].update(changes)
        train_steps(ours, optimizer, 1)
        train_steps(reference, plain, 1)
    assert_equal_weights(ours, reference)


@pytest.mark.parametrize("kind", [SGD, AdamW])
@pytest.mark.parametrize("decay_filter", ["all", "weights"])
def test_decay_filter_excludes_norms_and_biases(kind: type[SGD | AdamW], decay_filter: str) -> None:
    network = small_network()
    recipe = kind.model_validate({"lr": 0.1, "weight_decay": 0.5, "decay_filter": decay_filter})
    optimizer = recipe.build(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer.step()
    for old, parameter in zip(before, network.parameters(), strict=True):
        decays = decay_filter == "all" or parameter.ndim > 1
        torch.testing.assert_close(parameter.detach(), old * 0.95 if decays else old)


def test_bias_lr_scale_equals_torch_with_two_groups() -> None:
    """Biases and normalization at 8 times the rate, with an eighth of the weight decay."""
    ours, reference = small_network(), small_network()
    optimizer = SGD(lr=0.01, weight_decay=0.1, bias_lr_scale=8).build(ours)
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in reference.parameters():
        groups[parameter.ndim == 1].append(parameter)
    assert groups[True]
    plain = torch.optim.SGD(
        [
            {"params": groups[False], "lr": 0.01, "weight_decay": 0.1},
            {"params": groups[True], "lr": 0.08, "weight_decay": 0.1 / 8},
        ],
        momentum=0.9,
    )
    train_steps(ours, optimizer, 3)
    train_steps(reference, plain, 3)
    assert_equal_weights(ours, reference)


def test_sgd_follows_its_schedules_and_the_lr_scale() -> None:
    recipe = SGD(lr=Linear(start=1, end=0), momentum=Linear(start=0.9, end=0.5), weight_decay=0.1)
    optimizer = recipe.build(small_network())
    recipe.set_progress(optimizer, TrainingProgress(5, 10, 1))
    for group in optimizer.param_groups:
        assert (group["lr"], group["momentum"]) == pytest.approx((0.5, 0.7))
    recipe.set_progress(optimizer, TrainingProgress(5, 10, 1, lr_scale=0.25))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.125)


@pytest.mark.parametrize("recipe", OPTIMIZERS, ids=lambda recipe: recipe.kind)
def test_overflowed_first_step_of_float16_is_skipped(recipe: SGD | AdamW | Muon) -> None:
    network, reference = small_network(), small_network()
    optimizer = recipe.build(network)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, float("inf"))
    scaler.scale(torch.ones(()))
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    assert not optimizer.state
    assert scaler.get_scale() == 2.0
    train_steps(network, optimizer, 3)
    train_steps(reference, recipe.build(reference), 3)
    assert_equal_weights(network, reference)


@pytest.mark.parametrize("recipe", OPTIMIZERS, ids=lambda recipe: recipe.kind)
def test_optimizer_is_told_by_its_kind_and_survives_json(recipe: SGD | AdamW | Muon) -> None:
    assert TypeAdapter(Optimizer).validate_python(recipe.model_dump(mode="json")) == recipe


def test_adamw_state_has_a_scalar_step() -> None:
    network = small_network()
    optimizer = AdamW().build(network)
    train_steps(network, optimizer, 2)
    for parameter in network.parameters():
        state = optimizer.state[parameter]
        assert state.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert state["step"].shape == ()
        assert float(state["step"]) == 2
        assert state["exp_avg"].shape == state["exp_avg_sq"].shape == parameter.shape


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValidationError, match="nesterov needs"):
        SGD(nesterov=True, momentum=0.0)


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9,)])
def test_betas_outside_their_range_are_refused(betas: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        AdamW.model_validate({"betas": betas})


def test_newton_schulz_gives_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((16, 4, 3, 3), (64, 4, 3, 3)):
        values = torch.linalg.svdvals(newton_schulz(torch.randn(shape), 6).flatten(1))
        assert 0.5 < values.min() < values.max() < 1.4
    gradient = torch.randn(8, 4, 3, 3)
    left, _, right = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
    nearest, ours = left @ right, newton_schulz(gradient, 6).flatten(1)
    assert torch.cosine_similarity(nearest.flatten(), ours.flatten(), dim=0) > 0.98


def test_muon_decays_filters_that_are_not_normalized() -> None:
    network = small_network()
    filters = network[0].weight
    before = filters.detach().clone()
    optimizer = Muon(lr=0.2, normalize_weights=False, weight_decay=0.25).build(network)
    filters.grad = torch.zeros_like(filters)
    optimizer.step()
    torch.testing.assert_close(filters.detach(), before * 0.95)


def test_muon_updates_filters_by_its_formula_and_the_others_by_sgd() -> None:
    ours, reference = small_network(), small_network()
    recipe = Muon(lr=0.2, momentum=0.6, aux=SGD(lr=0.01, momentum=0.8, nesterov=True))
    optimizer = recipe.build(ours)
    sgd = torch.optim.SGD(
        [parameter for parameter in reference.parameters() if parameter.ndim != 4],
        0.01, 0.8, nesterov=True, weight_decay=5e-4,
    )  # fmt: skip
    filters, momentum = reference[0].weight, torch.zeros_like(reference[0].weight)
    for step in range(3):
        train_steps(ours, optimizer, 1)
        images = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        reference.zero_grad()
        reference(images).square().sum().backward()
        sgd.step()
        with torch.no_grad():
            assert filters.grad is not None
            momentum = 0.6 * momentum + filters.grad
            update = filters.grad + 0.6 * momentum
            filters.mul_(len(filters) ** 0.5 / filters.norm())
            filters.sub_(0.2 * newton_schulz(update, 3))
        for name, value in ours.named_parameters():
            expected = reference.get_parameter(name)
            torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-2, msg=f"{name} {step}")
