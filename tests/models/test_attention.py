"""CBAM against its formula; the rates of stochastic depth."""

import pytest
import torch
import torch.nn.functional as F
from architectures import tiny
from pydantic import ValidationError

from residua.models import CBAM, Architecture, StochasticDepth, set_progress, summarize
from residua.models.attention import CBAMModule
from residua.models.blocks import ResidualBlock
from residua.schedules import Linear, Phases, TrainingProgress

IMAGES = torch.randn(3, 8, 5, 5, generator=torch.Generator().manual_seed(0))


def test_cbam_equals_its_formula() -> None:
    torch.manual_seed(0)
    cbam = CBAM(reduction=2, kernel=3).build(8)
    assert isinstance(cbam, CBAMModule)

    def shared_layers(pooled: torch.Tensor) -> torch.Tensor:
        return cbam.excite(F.relu(cbam.squeeze(pooled)))

    for image, actual in zip(IMAGES, cbam(IMAGES), strict=True):
        gate = torch.sigmoid(shared_layers(image.mean((1, 2))) + shared_layers(image.amax((1, 2))))
        weighted = image * gate[:, None, None]
        pooled = torch.stack([weighted.mean(0), weighted.amax(0)])
        expected = weighted * torch.sigmoid(cbam.focus(pooled[None])[0])
        torch.testing.assert_close(actual, expected)


def test_cbam_is_last_in_every_branch_and_adds_no_depth() -> None:
    architecture = tiny(attention=CBAM())
    network = architecture.build(10)
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    assert all(isinstance(block.branch[-1], CBAMModule) for block in blocks)
    with_cbam, without = summarize(network), summarize(tiny().build(10))
    assert with_cbam.depth == without.depth
    assert with_cbam.parameters > without.parameters
    assert Architecture.model_validate_json(architecture.model_dump_json()) == architecture


def test_dropped_branch_leaves_the_shortcut() -> None:
    block = tiny(stochastic_depth=1.0).build(10).stages[-1][0]
    assert block.branch[-1].p == 1
    images = torch.randn(4, 4, 8, 8)
    torch.testing.assert_close(block(images), F.relu(block.shortcut(images)))
    block.eval()
    assert not torch.allclose(block(images), F.relu(block.shortcut(images)))


def test_stochastic_depth_drops_whole_images_and_scales_the_others() -> None:
    torch.manual_seed(0)
    module = StochasticDepth(0.25)
    out = module(torch.ones(4000, 2, 3, 3)).flatten(1)
    assert torch.equal(out.amin(1), out.amax(1))
    torch.testing.assert_close(out[:, 0].unique(), torch.tensor([0, 1 / 0.75]))
    assert float((out[:, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(module.eval()(IMAGES), IMAGES)


def test_stochastic_depth_rate_rises_with_depth_and_follows_its_schedule() -> None:
    rate = Phases(boundaries=(2,), values=(0.4, Linear(start=0.2, end=0.2)))
    network = tiny(depths=(3, 1), stochastic_depth=rate).build(10)
    layers = [module for module in network.modules() if isinstance(module, StochasticDepth)]
    assert [layer.p for layer in layers] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    set_progress(network, TrainingProgress(2, 4, 1))
    assert [layer.p for layer in layers] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    with pytest.raises(ValidationError, match="between 0 and 1"):
        Architecture(stochastic_depth=1.5)


def test_stochastic_depth_adds_no_weights() -> None:
    expected = tiny().build(10).state_dict()
    actual = tiny(stochastic_depth=0.5).build(10).state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in actual)
