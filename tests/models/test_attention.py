"""CBAM by its formula, and stochastic depth by its shares."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from residua.models import CBAM, Architecture, ConvStem, StochasticDepth, set_progress, summarize
from residua.models.attention import CBAMModule
from residua.models.blocks import ResidualBlock
from residua.schedules import Linear, Phases, TrainingProgress

IMAGES = torch.randn(3, 8, 5, 5, generator=torch.Generator().manual_seed(0))
TINY = Architecture(stem=ConvStem(width=4), depths=(1, 1), widths=(4, 8))


def test_cbam_equals_its_formula() -> None:
    torch.manual_seed(0)
    gate = CBAM(reduction=2, kernel=3).build(8)
    assert isinstance(gate, CBAMModule)

    def layers(pooled: torch.Tensor) -> torch.Tensor:
        return gate.excite(F.relu(gate.squeeze(pooled)))

    for image, ours in zip(IMAGES, gate(IMAGES), strict=True):
        channels = torch.sigmoid(layers(image.mean((1, 2))) + layers(image.amax((1, 2))))
        weighed = image * channels[:, None, None]
        places = torch.stack([weighed.mean(0), weighed.amax(0)])
        wanted = weighed * torch.sigmoid(gate.focus(places[None])[0])
        torch.testing.assert_close(ours, wanted)


def test_cbam_stands_at_the_end_of_every_branch_and_adds_no_depth() -> None:
    plain, attended = TINY, TINY.model_copy(update={"attention": CBAM()})
    network = attended.build(10)
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    assert all(isinstance(block.branch[-1], CBAMModule) for block in blocks)
    mine, theirs = summarize(network), summarize(plain.build(10))
    assert mine.depth == theirs.depth
    assert mine.parameters > theirs.parameters
    assert Architecture.model_validate_json(attended.model_dump_json()) == attended


def test_a_left_out_branch_leaves_the_shortcut() -> None:
    block = TINY.model_copy(update={"stochastic_depth": 1.0}).build(10).stages[-1][0]
    assert block.branch[-1].p == 1
    images = torch.randn(4, 4, 8, 8)
    torch.testing.assert_close(block(images), F.relu(block.shortcut(images)))
    block.eval()
    assert not torch.allclose(block(images), F.relu(block.shortcut(images)))


def test_images_are_left_out_whole_and_the_rest_is_scaled() -> None:
    torch.manual_seed(0)
    module = StochasticDepth(0.25)
    out = module(torch.ones(4000, 2, 3, 3))
    each = out.flatten(1)
    assert torch.equal(each.amin(1), each.amax(1))
    torch.testing.assert_close(each[:, 0].unique(), torch.tensor([0, 1 / 0.75]))
    assert float((each[:, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(module.eval()(IMAGES), IMAGES)


def test_the_rate_rises_with_depth_and_follows_its_schedule() -> None:
    rate = Phases(boundaries=(2,), values=(0.4, Linear(start=0.2, end=0.2)))
    deep = TINY.model_copy(update={"depths": (3, 1), "stochastic_depth": rate})
    network = deep.build(10)
    fading = [module for module in network.modules() if isinstance(module, StochasticDepth)]
    assert [module.p for module in fading] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    set_progress(network, TrainingProgress(2, 4, 1))
    assert [module.p for module in fading] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    with pytest.raises(ValidationError, match="between 0 and 1"):
        Architecture(stochastic_depth=1.5)


def test_stochastic_depth_adds_no_weights() -> None:
    plain, fading = TINY.build(10), TINY.model_copy(update={"stochastic_depth": 0.5}).build(10)
    mine, theirs = fading.state_dict(), plain.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
