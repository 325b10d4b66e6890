"""Stochastic weight averaging: the average by its definition, normalisation measured anew."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from residua.optim import EMA, SWA, holding
from residua.optim.average import remeasure
from residua.recipe import Recipe
from residua.recipe_forms import resolve
from residua.run import Run
from residua.schedule import Clock
from residua.setting import prepare
from residua.training import train

Tiny = Callable[..., Recipe]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten())


def test_swa_is_the_mean_of_the_weights_at_the_ends_of_epochs() -> None:
    net, swa, per_epoch = network(), SWA(start=2), 3
    average, ends = swa.build(net), []
    for step in range(5 * per_epoch):
        with torch.no_grad():
            net[0].weight.add_(torch.randn_like(net[0].weight))
        swa.update(average, net, Clock(step, 15, per_epoch))
        if (step + 1) % per_epoch == 0:
            ends.append(net[0].weight.detach().clone())
            included = ends[1:] or ends[-1:]
            torch.testing.assert_close(average["0.weight"], torch.stack(included).mean(0))
    assert len(ends) == 5


def test_remeasured_normalisation_is_that_of_the_batches() -> None:
    net = network()
    batches = [torch.randn(6, 3, 8, 8) * scale + 1 for scale in (1, 2, 3)]
    before = net[0].weight.detach().clone()
    remeasure(net, net, batches)
    with torch.no_grad():
        outs = [net[0](images).transpose(0, 1).flatten(1) for images in batches]
    mean = torch.stack([out.mean(1) for out in outs]).mean(0)
    variance = torch.stack([out.var(1) for out in outs]).mean(0)
    torch.testing.assert_close(net[1].running_mean, mean)
    torch.testing.assert_close(net[1].running_var, variance)
    assert torch.equal(net[0].weight, before)
    assert net[1].momentum == 0.1
    assert all(module.training for module in net)


def test_remeasuring_draws_nothing() -> None:
    net = network()
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    remeasure(net, net, [torch.randn(4, 3, 8, 8, generator=torch.Generator())])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_normalisation_is_measured_once_there_is_an_average_and_on_so_many_images() -> None:
    net, taken = network(), []

    def forward(images: torch.Tensor) -> torch.Tensor:
        taken.append(len(images))
        return images

    batches = [torch.zeros(8, 3, 8, 8)] * 9
    for epoch in (1, 2):
        SWA(start=2, images=30).settle(net, forward, batches, Clock(epoch, 9, 1))
        assert taken == []
    SWA(start=2, images=30).settle(net, forward, batches, Clock(3, 9, 1))
    assert taken == [8, 8, 8]
    SWA(start=2, images=1).settle(net, forward, batches, Clock(3, 9, 1))
    assert taken == [8, 8, 8, 8]
    EMA().settle(net, forward, batches, Clock(3, 9, 1))
    assert len(taken) == 4


def test_what_is_evaluated_is_the_average_with_its_own_normalisation(
    tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny(average={"kind": "swa", "start": 2}, optimizer__lr=0.2)
    plain = tiny(optimizer__lr=0.2)
    for name, each in (("swa", recipe), ("plain", plain)):
        list(train(each, tmp_path / name))
    run, other = Run.open(tmp_path / "swa"), Run.open(tmp_path / "plain")
    losses, theirs = ([r["test_loss"] for r in each.log] for each in (run, other))
    assert losses[:2] == theirs[:2]
    assert losses[2] != theirs[2]
    setting, state = prepare(recipe)
    state.load(run.saved[-1])
    assert setting.evaluate(state, setting.splits.test).loss == losses[2]
    statistics = state.network.stem[1].running_mean.clone()
    with holding(state.network, state.average):
        averaged = state.network.stem[1].running_mean.clone()
        clock = setting.clock(state)
        assert recipe.average is not None
        recipe.average.settle(state.network, setting.run, setting._seen(state), clock)
        assert not torch.equal(state.network.stem[1].running_mean, averaged)
    assert torch.equal(state.network.stem[1].running_mean, statistics)


def test_an_average_is_told_by_its_kind_and_is_an_ema_without_one() -> None:
    words = ["--average.kind", "swa", "--average.start", "5"]
    assert resolve("quickstart", words).average == SWA(start=5)
    assert resolve("quickstart", ["--average.decay", "0.9"]).average == EMA(decay=0.9)
    assert Recipe.model_validate({"average": {}}).average == EMA()
    with pytest.raises(ValidationError):
        SWA(start=0)
