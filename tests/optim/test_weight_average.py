"""Stochastic weight averaging: the average by its definition, normalisation measured anew."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from residua.optim import EMA, SWA, swapped_weights
from residua.optim.weight_average import reestimate_bn
from residua.recipes.loading import resolve
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.schedules import TrainingProgress
from residua.training.loop import train
from residua.training.session import build_training

Tiny = Callable[..., Recipe]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten())


def test_swa_is_the_mean_of_the_weights_at_the_ends_of_epochs() -> None:
    net, swa, per_epoch = network(), SWA(start_epoch=2), 3
    average, ends = swa.build(net), []
    for step in range(5 * per_epoch):
        with torch.no_grad():
            net[0].weight.add_(torch.randn_like(net[0].weight))
        swa.update(average, net, TrainingProgress(step, 15, per_epoch))
        if (step + 1) % per_epoch == 0:
            ends.append(net[0].weight.detach().clone())
            included = ends[1:] or ends[-1:]
            torch.testing.assert_close(average["0.weight"], torch.stack(included).mean(0))
    assert len(ends) == 5


def test_remeasured_normalisation_is_that_of_the_batches() -> None:
    net = network()
    batches = [torch.randn(6, 3, 8, 8) * scale + 1 for scale in (1, 2, 3)]
    before = net[0].weight.detach().clone()
    reestimate_bn(net, net, batches)
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
    reestimate_bn(net, net, [torch.randn(4, 3, 8, 8, generator=torch.Generator())])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_normalisation_is_measured_once_there_is_an_average_and_on_so_many_images() -> None:
    net, taken = network(), []

    def forward(images: torch.Tensor) -> torch.Tensor:
        taken.append(len(images))
        return images

    batches = [torch.zeros(8, 3, 8, 8)] * 9
    for epoch in (1, 2):
        SWA(start_epoch=2, bn_images=30).update_bn(
            net, forward, batches, TrainingProgress(epoch, 9, 1)
        )
        assert taken == []
    SWA(start_epoch=2, bn_images=30).update_bn(net, forward, batches, TrainingProgress(3, 9, 1))
    assert taken == [8, 8, 8]
    SWA(start_epoch=2, bn_images=1).update_bn(net, forward, batches, TrainingProgress(3, 9, 1))
    assert taken == [8, 8, 8, 8]
    EMA().update_bn(net, forward, batches, TrainingProgress(3, 9, 1))
    assert len(taken) == 4


def test_what_is_evaluated_is_the_average_with_its_own_normalisation(
    tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny(weight_average={"kind": "swa", "start_epoch": 2}, optimizer__lr=0.2)
    plain = tiny(optimizer__lr=0.2)
    for name, each in (("swa", recipe), ("plain", plain)):
        list(train(each, tmp_path / name))
    run, other = Run.open(tmp_path / "swa"), Run.open(tmp_path / "plain")
    losses, theirs = ([r["test_loss"] for r in each.log] for each in (run, other))
    assert losses[:2] == theirs[:2]
    assert losses[2] != theirs[2]
    session, state = build_training(recipe)
    state.load(run.checkpoints[-1])
    assert session.evaluate(state, session.splits.test).loss == losses[2]
    statistics = state.network.stem[1].running_mean.clone()
    with swapped_weights(state.network, state.average):
        averaged = state.network.stem[1].running_mean.clone()
        progress = session.progress(state)
        assert recipe.weight_average is not None
        recipe.weight_average.update_bn(state.network, session.run, session._seen(state), progress)
        assert not torch.equal(state.network.stem[1].running_mean, averaged)
    assert torch.equal(state.network.stem[1].running_mean, statistics)


def test_an_average_is_told_by_its_kind_and_is_an_ema_without_one() -> None:
    words = ["--weight-average.kind", "swa", "--weight-average.start", "5"]
    assert resolve("quickstart", words).average == SWA(start_epoch=5)
    assert resolve("quickstart", ["--weight-average.decay", "0.9"]).average == EMA(decay=0.9)
    assert Recipe.model_validate({"weight_average": {}}).average == EMA()
    with pytest.raises(ValidationError):
        SWA(start_epoch=0)
