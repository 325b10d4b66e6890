"""EMA and SWA against their definitions; re-estimated batch norm; swapped weights."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from networks import small_network, train_steps
from pydantic import ValidationError
from torch import nn

from residua.inference.evaluation import never_stop
from residua.models import Architecture, ConvStem, GroupNorm, NoNorm
from residua.models.layers import Norm
from residua.optim import EMA, SGD, SWA, Lookahead, swapped_weights
from residua.optim.weight_average import reestimate_bn
from residua.recipes.loading import resolve
from residua.recipes.recipe import Recipe
from residua.runs.checkpoint import Checkpoint
from residua.runs.run import Run
from residua.schedules import Linear, TrainingProgress
from residua.training.loop import train
from residua.training.session import build_session, build_state

Tiny = Callable[..., Recipe]


def network_with_dropout() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten())


@pytest.mark.parametrize("decay", [0.0, 0.9999, 0.999999])
def test_ema_decay_may_be_anything_below_1(decay: float) -> None:
    assert EMA(decay=decay).update_weight(TrainingProgress(0, 1, 1)) == 1 - decay
    with pytest.raises(ValidationError, match="at least 0 and below 1"):
        EMA(decay=1)


def test_ema_equals_its_definition() -> None:
    network = small_network()
    ema = EMA(decay=0.9)
    average, expected = ema.build(network), network[0].weight.detach().clone()
    optimizer = SGD(lr=0.01).build(network)
    for step in range(4):
        train_steps(network, optimizer, 1)
        ema.update(average, network, TrainingProgress(step, 4, 1))
        expected = 0.9 * expected + 0.1 * network[0].weight.detach()
    torch.testing.assert_close(average["0.weight"], expected)
    assert int(average["1.num_batches_tracked"]) == 4


def test_lookahead_equals_its_definition() -> None:
    """The slow weights move every second step, and the network continues from them."""
    network, reference = small_network(), small_network()
    lookahead = Lookahead(interval=2, decay=Linear(start=0.5, end=1))
    slow, expected = lookahead.build(network), reference[0].weight.detach().clone()
    before = {name: value.clone() for name, value in slow.items()}
    optimizer, reference_optimizer = (SGD(lr=0.01).build(net) for net in (network, reference))
    for step in range(4):
        train_steps(network, optimizer, 1)
        lookahead.update(slow, network, TrainingProgress(step, 4, 1))
        train_steps(reference, reference_optimizer, 1)
        if step % 2:
            decay = 0.5 + 0.5 * step / 4
            with torch.no_grad():
                for name, value in reference.state_dict().items():
                    if value.is_floating_point():
                        value.copy_(decay * before[name] + (1 - decay) * value)
            expected = reference[0].weight.detach().clone()
        before = {name: value.clone() for name, value in slow.items()}
        torch.testing.assert_close(slow["0.weight"], expected)
        torch.testing.assert_close(network[0].weight, reference[0].weight)


def test_swa_is_the_mean_of_the_weights_at_the_ends_of_epochs() -> None:
    network, swa, steps_per_epoch = network_with_dropout(), SWA(start_epoch=2), 3
    average, ends = swa.build(network), []
    for step in range(5 * steps_per_epoch):
        with torch.no_grad():
            network[0].weight.add_(torch.randn_like(network[0].weight))
        swa.update(average, network, TrainingProgress(step, 15, steps_per_epoch))
        if (step + 1) % steps_per_epoch == 0:
            ends.append(network[0].weight.detach().clone())
            averaged = ends[1:] or ends[-1:]
            torch.testing.assert_close(average["0.weight"], torch.stack(averaged).mean(0))
    assert len(ends) == 5


def test_reestimated_statistics_are_those_of_the_batches() -> None:
    network = network_with_dropout()
    batches = [torch.randn(6, 3, 8, 8) * scale + 1 for scale in (1, 2, 3)]
    before = network[0].weight.detach().clone()
    reestimate_bn(network, network, batches)
    with torch.no_grad():
        outputs = [network[0](images).transpose(0, 1).flatten(1) for images in batches]
    mean = torch.stack([out.mean(1) for out in outputs]).mean(0)
    variance = torch.stack([out.var(1) for out in outputs]).mean(0)
    torch.testing.assert_close(network[1].running_mean, mean)
    torch.testing.assert_close(network[1].running_var, variance)
    assert torch.equal(network[0].weight, before)
    assert network[1].momentum == 0.1
    assert all(module.training for module in network)


def test_reestimating_batch_norm_draws_no_random_numbers() -> None:
    network = network_with_dropout()
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    reestimate_bn(network, network, [torch.randn(4, 3, 8, 8, generator=torch.Generator())])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("norm", [GroupNorm(groups=2), NoNorm()])
def test_networks_without_batch_norm_need_no_batches(norm: Norm) -> None:
    def no_batches() -> Iterator[torch.Tensor]:
        pytest.fail("a batch was made for a network without batch norm")
        yield

    stem = ConvStem(width=4)
    network = Architecture(stem=stem, depths=(1,), widths=(4,), norm=norm).build(5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    swa, progress = SWA(start_epoch=1), TrainingProgress(3, 9, 1)
    swa.update_bn(network, network, no_batches(), progress)
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    average = swa.build(network)
    swa.update(average, network, progress)
    assert average.keys() == after.keys()


def test_swa_reestimates_batch_norm_on_whole_batches_once_it_averages() -> None:
    network, sizes = network_with_dropout(), []

    def forward(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return images

    def update_bn(average: SWA | EMA, epoch: int) -> list[int]:
        sizes.clear()
        batches = [torch.zeros(8, 3, 8, 8)] * 9
        average.update_bn(network, forward, batches, TrainingProgress(epoch, 9, 1))
        return sizes

    swa = SWA(start_epoch=2, bn_images=30)
    assert update_bn(swa, epoch=1) == update_bn(swa, epoch=2) == []
    assert update_bn(swa, epoch=3) == [8, 8, 8]
    assert update_bn(SWA(start_epoch=2, bn_images=1), epoch=3) == [8]
    assert update_bn(EMA(), epoch=3) == []


def test_swapped_weights_are_restored() -> None:
    network = small_network()
    original = network[0].weight.detach().clone()
    zeros = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    with swapped_weights(network, zeros):
        assert not network[0].weight.any()
    assert torch.equal(network[0].weight, original)
    with swapped_weights(network, {}):
        assert torch.equal(network[0].weight, original)


def test_the_average_is_evaluated_with_reestimated_batch_norm(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(weight_average={"kind": "swa", "start_epoch": 2}, optimizer__lr=0.2)
    losses = {}
    for name, each in (("swa", recipe), ("plain", tiny(optimizer__lr=0.2))):
        list(train(each, tmp_path / name))
        losses[name] = [record.test_loss for record in Run.open(tmp_path / name).log]
    assert losses["swa"][:2] == losses["plain"][:2]
    assert losses["swa"][2] != losses["plain"][2]
    session = build_session(recipe)
    state = build_state(session)
    state.load(Checkpoint.load(Run.open(tmp_path / "swa").checkpoints[-1]))
    batch_norm = state.network.stem[1]
    own = batch_norm.running_mean.clone()
    with swapped_weights(state.network, state.average):
        averaged = batch_norm.running_mean.clone()
    with session.evaluated_weights(state, never_stop):
        assert session.evaluate(state, session.splits.test).loss == losses["swa"][2]
        assert not torch.equal(batch_norm.running_mean, averaged)
    assert torch.equal(batch_norm.running_mean, own)


def test_weight_average_needs_its_kind() -> None:
    words = ["--weight-average.kind", "swa", "--weight-average.start-epoch", "5"]
    assert resolve("quickstart", words).weight_average == SWA(start_epoch=5)
    assert Recipe.model_validate({"weight_average": {"kind": "ema"}}).weight_average == EMA()
    with pytest.raises(ValidationError, match="kind"):
        Recipe.model_validate({"weight_average": {"decay": 0.9}})
    with pytest.raises(ValidationError):
        SWA(start_epoch=0)
