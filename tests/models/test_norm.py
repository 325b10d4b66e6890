"""Batch, group and no normalization in every kind of block."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from architectures import tiny
from torch import nn

from residua.models import (
    Architecture,
    BasicBlock,
    BatchNorm,
    Bottleneck,
    ConvBlock,
    GroupNorm,
    NoNorm,
    PreActBlock,
    Projection,
    ResidualNetwork,
    ZeroPadding,
    summarize,
)
from residua.models.blocks import BaseBlock, LayerFactory
from residua.models.layers import Norm
from residua.optim import SGD

NORMS = [BatchNorm(), GroupNorm(groups=2), NoNorm()]
BLOCKS = [BasicBlock(), PreActBlock(), Bottleneck(expansion=2), ConvBlock(num_convs=2)]
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def norm_layers(network: nn.Module) -> list[nn.Module]:
    kinds = nn.BatchNorm2d | nn.GroupNorm
    return [module for module in network.modules() if isinstance(module, kinds)]


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.kind)
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.kind)
def test_every_norm_trains_in_every_block(norm: Norm, block: BaseBlock) -> None:
    architecture = tiny(norm=norm, block=block, downsampling="pooled")
    assert Architecture.model_validate_json(architecture.model_dump_json()) == architecture
    network = architecture.build(5)
    optimizer = SGD(lr=0.01).build(network)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    logits = network(IMAGES)
    assert logits.shape == (4, 5)
    F.cross_entropy(logits, torch.arange(4)).backward()
    optimizer.step()
    for parameter, old in zip(network.parameters(), before, strict=True):
        assert parameter.isfinite().all()
        assert not torch.equal(parameter, old)


@pytest.mark.parametrize("shortcut", [Projection(), Projection(norm=False), ZeroPadding()])
def test_network_without_norm_has_only_convolutions_and_the_linear_layer(
    shortcut: Projection | ZeroPadding,
) -> None:
    network = tiny(norm=NoNorm(), shortcut=shortcut).build(5)
    assert not norm_layers(network)
    assert {name.rsplit(".")[-1] for name in network.state_dict()} == {"weight", "bias"}
    kinds = {layer.kind for layer in summarize(network).layers}
    assert kinds <= {"Conv2d", "StridedPointwiseConv", "Linear", "ReLU", "ZeroPadShortcut",
                     "AdaptiveAvgPool2d"}  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.kind)
def test_blocks_without_norm_leave_their_input_unchanged(block: BaseBlock) -> None:
    """An activation in place would overwrite what the shortcut takes."""
    layers = LayerFactory("relu", NoNorm(), Projection(), None)
    channels = block.out_channels(4)
    module = block.build(channels, 4, 1, layers)
    features = torch.randn(2, channels, 6, 6)
    original = features.clone()
    out = module(features)
    assert torch.equal(features, original)
    hidden = F.relu(original) if block.preact else original
    expected = module.after(module.branch(hidden) + module.shortcut(original))
    torch.testing.assert_close(out, expected)


def logits_of_first_image(network: ResidualNetwork, others: torch.Tensor) -> torch.Tensor:
    return network(torch.cat([IMAGES[:1], others]))[0]


def test_group_norm_does_not_depend_on_the_other_images() -> None:
    others = IMAGES[1:], 5 * IMAGES[1:] + 1
    network = tiny(norm=GroupNorm(groups=2)).build(5)
    torch.testing.assert_close(*(logits_of_first_image(network, images) for images in others))
    network = tiny(norm=BatchNorm()).build(5)
    first, second = (logits_of_first_image(network, images) for images in others)
    assert not torch.allclose(first, second, atol=1e-2)


@pytest.mark.parametrize(
    ("groups", "channels", "expected"),
    [(32, 64, 32), (32, 48, 24), (4, 6, 3), (32, 8, 8), (4, 7, 1), (1, 9, 1)],
)
def test_group_norm_takes_the_largest_number_of_groups_that_divides_the_channels(
    groups: int, channels: int, expected: int
) -> None:
    layer = GroupNorm(groups=groups).build(channels)
    assert isinstance(layer, nn.GroupNorm)
    assert (layer.num_groups, layer.num_channels) == (expected, channels)


@pytest.mark.parametrize("kind", [BatchNorm, GroupNorm])
def test_norm_without_scale_learns_only_the_shift(kind: Callable[..., Norm]) -> None:
    network = tiny(norm=kind(scale=False)).build(5)
    layers = norm_layers(network)
    assert layers
    for layer in layers:
        assert not layer.weight.requires_grad
        assert layer.bias.requires_grad


def test_norm_changes_neither_depth_nor_convolutions() -> None:
    batch, group, none = (summarize(tiny(norm=norm).build(5)) for norm in NORMS)
    assert batch.depth == group.depth == none.depth == 6
    assert batch.multiply_adds == group.multiply_adds == none.multiply_adds
    assert batch.parameters == group.parameters == batch.trainable
    channels = 4 + 2 * 4 + 3 * 8
    assert none.parameters == batch.parameters - 2 * channels
    assert len(none.layers) == len(batch.layers) - 6
