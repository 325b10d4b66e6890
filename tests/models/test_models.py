"""Networks: parameter counts, shapes, initialization, and each block against its formula."""

import hashlib
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from architectures import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from residua.models import (
    CBAM,
    Architecture,
    AveragePool,
    BasicBlock,
    BatchNorm,
    Bottleneck,
    ConvBlock,
    ConvStem,
    GroupNorm,
    MaxPool,
    NoNorm,
    PreActBlock,
    Projection,
    PyramidBlock,
    PyramidBottleneck,
    ShakeDrop,
    SqueezeExcitation,
    WhiteningStem,
    ZeroPadding,
    init_whitening,
    pyramid_net,
    set_progress,
    summarize,
    wide_resnet,
)
from residua.models.attention import SEModule
from residua.models.blocks import LayerFactory, ResidualBlock
from residua.models.layers import Dropout, GlobalMaxPool, convolution, max_over_positions
from residua.recipes.built_in import built_in
from residua.schedules import Phases, TrainingProgress

RESNET18 = Architecture()


@pytest.mark.parametrize(
    ("architecture", "parameters", "depth"),
    [
        (built_in("resnet44").architecture, 30_032_292, 42),
        (built_in("resnet44v2").architecture, 5_941_316, 50),
        (built_in("resnet44v2_run1").architecture, 2_648_132, 44),
        (built_in("wrn28_10").architecture, 36_536_884, 26),
        (built_in("resnet26w").architecture, 3_903_620, 26),
        (built_in("resnet34").architecture, 21_328_292, 34),
        (RESNET18, 11_220_132, 18),
        (Architecture(depths=(3, 4, 6, 3), block=Bottleneck()), 23_705_252, 50),
        (pyramid_net(110, 270), 28_511_275, 110),
        (pyramid_net(272, 200, bottleneck=True), 26_127_380, 272),
    ],
)
def test_parameters_and_depth(architecture: Architecture, parameters: int, depth: int) -> None:
    summary = summarize(architecture.build(100))
    assert summary.parameters == summary.trainable == parameters
    assert summary.depth == depth


def test_summary_of_resnet44_has_the_published_sizes() -> None:
    summary = summarize(built_in("resnet44").architecture.build(100))
    assert round(summary.parameters_mib, 2) == 114.56
    assert round(summary.input_mib, 2) == 0.01
    assert summary.multiply_adds == pytest.approx(1.46e9, rel=0.01)


def test_resnext_has_grouped_convolutions() -> None:
    block = Bottleneck(groups=4, inner_ratio=1.0)
    network = Architecture(depths=(1,), widths=(16,), stem=ConvStem(width=8), block=block).build(10)
    grouped = [module for module in network.modules() if getattr(module, "groups", 1) == 4]
    assert [tuple(module.weight.shape) for module in grouped] == [(16, 4, 3, 3)]
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def digest(architecture: Architecture, seed: int) -> str:
    content = hashlib.sha256()
    for name, value in architecture.build(10, seed).state_dict().items():
        content.update(name.encode() + value.numpy().tobytes())
    return content.hexdigest()[:16]


def test_initial_weights_of_a_seed_never_change() -> None:
    """A change of the initial weights changes the result of every recipe."""
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert digest(tiny(), 0) == digest(tiny(), 0) == "d68e0f79b7bee86c"
    assert torch.equal(torch.random.get_rng_state(), before)
    assert digest(tiny(), 1) != digest(tiny(), 0)


def test_initialization_scales() -> None:
    network = RESNET18.build(100)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert float(module.weight.detach().std()) == pytest.approx(
                (2 / fan_out) ** 0.5, rel=0.1
            )
    network = Architecture(initialization="torch").build(100)
    assert network.stages[0][0].branch[0].weight.std().item() == pytest.approx(
        (1 / (3 * 64 * 9)) ** 0.5, rel=0.1
    )


LAYERS = LayerFactory("relu", BatchNorm(), Projection(), None)
IMAGES = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_basic_block() -> None:
    block = BasicBlock().build(4, 6, 2, LAYERS).eval()
    first, norm1, _, second, norm2 = block.branch
    hidden = norm2(second(F.relu(norm1(first(IMAGES)))))
    expected = F.relu(hidden + block.shortcut(IMAGES))
    torch.testing.assert_close(block(IMAGES), expected)
    assert expected.shape == (2, 6, 4, 4)
    unactivated = BasicBlock(final_activation=False).build(4, 4, 1, LAYERS).eval()
    assert unactivated(IMAGES).min().item() < 0
    torch.testing.assert_close(unactivated(IMAGES), unactivated.branch(IMAGES) + IMAGES)


@pytest.mark.parametrize(
    ("shortcut_input", "width", "activated"),
    [
        ("input", 4, False),
        ("activated", 4, True),
        ("activated_when_projected", 4, False),
        ("activated_when_projected", 6, True),
    ],
)
def test_preact_block_and_the_input_of_its_shortcut(
    shortcut_input: str, width: int, activated: bool
) -> None:
    config = PreActBlock.model_validate({"shortcut_input": shortcut_input})
    block = config.build(4, width, 1, LAYERS).eval()
    hidden = F.relu(block.before[0](IMAGES))
    expected = block.branch(hidden) + block.shortcut(hidden if activated else IMAGES)
    torch.testing.assert_close(block(IMAGES), expected)


def test_zero_padding_shortcut_has_no_parameters() -> None:
    shortcut = ZeroPadding().build(4, 8, 2, BatchNorm())
    out = shortcut(IMAGES)
    assert torch.equal(out[:, 2:6], IMAGES[:, :, ::2, ::2])
    assert float(out[:, :2].abs().sum() + out[:, 6:].abs().sum()) == 0
    assert not list(shortcut.parameters())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("side", [8, 9])
def test_strided_pointwise_conv_equals_torch(side: int, groups: int) -> None:
    actual = convolution(4, 8, 1, stride=2, groups=groups)
    expected = nn.Conv2d(4, 8, 1, 2, groups=groups, bias=False)
    assert type(actual) is not nn.Conv2d
    expected.load_state_dict(actual.state_dict())
    images = torch.randn(3, 4, side, side)
    outputs = [conv(images) for conv in (actual, expected)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(actual.weight.grad, expected.weight.grad)


NARROW_TRAINING = """
import torch
from residua.models import Architecture, ConvStem

torch.set_num_threads(2)
network = Architecture(stem=ConvStem(width=4), depths=(1, 1), widths=(4, 8)).build(10)
network.to(memory_format=torch.channels_last)
images = torch.zeros(7, 3, 32, 32).contiguous(memory_format=torch.channels_last)
for _ in range(60):
    network(images).sum().backward()
"""


def test_narrow_networks_do_not_write_outside_their_memory() -> None:
    """In its own process: oneDNN's strided 1 x 1 convolutions with few channels crash it."""
    done = subprocess.run([sys.executable, "-c", NARROW_TRAINING], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_squeeze_excitation_is_last_in_every_branch() -> None:
    module = SqueezeExcitation(reduction=2).build(4)
    gate = torch.sigmoid(module.excite(F.relu(module.squeeze(IMAGES.mean((2, 3))))))
    torch.testing.assert_close(module(IMAGES), IMAGES * gate[:, :, None, None])
    for block in (BasicBlock(), PreActBlock(), Bottleneck(), ConvBlock()):
        network = tiny(block=block, attention=SqueezeExcitation()).build(10)
        blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
        assert len(blocks) == 2
        assert all(isinstance(block.branch[-1], SEModule) for block in blocks)


def test_wide_resnet_layers() -> None:
    network = wide_resnet(28, 10, dropout=0.3).build(100)
    assert [len(stage) for stage in network.stages] == [4, 4, 4]
    assert len(network.stem) == 1
    assert sum(isinstance(module, Dropout) for module in network.modules()) == 12
    with pytest.raises(ValueError, match="6n"):
        wide_resnet(27, 10)


def test_resnet26w_layers() -> None:
    network = built_in("resnet26w").architecture.build(100)
    assert isinstance(network.stem[-1], Dropout)
    assert network.stages[1][0].shortcut[0].kernel_size == (3, 3)
    assert isinstance(network.stages[0][0].shortcut, torch.nn.Identity)
    assert network.head[0].kernel_size == 4
    assert isinstance(network.stages[0][0].after, torch.nn.Identity)


def test_dropout_follows_its_schedule_and_is_off_in_evaluation() -> None:
    dropout = Dropout(Phases(boundaries=(2,), values=(0.5, 0.0)))
    ones = torch.ones(1000)
    set_progress(dropout, TrainingProgress(0, 4, 1))
    assert 0.4 < float((dropout(ones) == 0).float().mean()) < 0.6
    assert torch.equal(dropout.eval()(ones), ones)
    set_progress(dropout.train(), TrainingProgress(2, 4, 1))
    assert torch.equal(dropout(ones), ones)


def test_stages_need_equally_long_tuples() -> None:
    with pytest.raises(ValidationError, match="one entry for each stage"):
        Architecture(depths=(1, 2), widths=(8,))


BLOCKS = st.sampled_from(
    [BasicBlock(), BasicBlock(final_activation=False), PreActBlock(),
     PreActBlock(shortcut_input="activated"), Bottleneck(expansion=2), ConvBlock(num_convs=2),
     PyramidBlock(), PyramidBottleneck(expansion=2)]
)  # fmt: skip


@given(
    block=BLOCKS,
    depths=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    shortcut=st.sampled_from(
        [Projection(), Projection(kernel=3, norm=False), ZeroPadding(), ZeroPadding(pool=True)]
    ),
    attention=st.sampled_from([None, SqueezeExcitation(), CBAM()]),
    pooling=st.sampled_from([AveragePool(), MaxPool()]),
    norm=st.sampled_from([BatchNorm(), GroupNorm(groups=3), NoNorm()]),
)
@settings(max_examples=20, deadline=None)
def test_any_architecture_trains_and_survives_json(depths: list[int], **parts: object) -> None:
    widths = [4 * 2**stage for stage in range(len(depths))]
    architecture = tiny(depths=depths, widths=widths, **parts)
    assert Architecture.model_validate_json(architecture.model_dump_json()) == architecture
    network = architecture.build(7)
    logits = network(torch.randn(2, 3, 16, 16))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_pyramid_block_and_its_shortcut() -> None:
    """Norm, conv, norm, act, conv, norm; the shortcut averages and adds channels of zeros."""
    factory = LayerFactory("relu", BatchNorm(), ZeroPadding(pool=True), None)
    block = PyramidBlock().build(4, 6, 2, factory).eval()
    norm, conv, inner_norm, _, last_conv, last_norm = block.branch
    branch = last_norm(last_conv(F.relu(inner_norm(conv(norm(IMAGES))))))
    shortcut = F.pad(F.avg_pool2d(IMAGES, 2), (0, 0, 0, 0, 1, 1))
    torch.testing.assert_close(block(IMAGES), branch + shortcut)


def test_widths_of_a_pyramid_grow_in_each_block() -> None:
    architecture = pyramid_net(20, 48)
    assert architecture.widths == ((21, 26, 32), (37, 42, 48), (53, 58, 64))
    network = architecture.build(10)
    assert [block.branch[1].out_channels for stage in network.stages for block in stage] == [
        21, 26, 32, 37, 42, 48, 53, 58, 64,
    ]  # fmt: skip
    assert Architecture.model_validate_json(architecture.model_dump_json()) == architecture
    with pytest.raises(ValueError, match="6n \\+ 2, not 21"):
        pyramid_net(21, 48)
    with pytest.raises(ValidationError, match="a stage of 2 blocks has 3 widths"):
        Architecture(depths=(2,), widths=((8, 9, 10),))


def test_shake_drop_scales_branches_and_gradients_apart() -> None:
    """The factors of forward and backward pass are uniform in [-1, 1] and in [0, 1]."""
    shake = ShakeDrop(0.5)
    torch.manual_seed(0)
    features = torch.ones(4000, 1, 1, 1, requires_grad=True)
    out = shake(features)
    out.sum().backward()
    assert features.grad is not None
    forward, backward = out.detach().flatten(), features.grad.flatten()
    kept = (forward == 1) & (backward == 1)
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert -1 <= forward[~kept].min() < -0.99
    assert 0.99 < forward[~kept].max() <= 1
    assert forward[~kept].mean().item() == pytest.approx(0, abs=0.04)
    assert 0 <= backward[~kept].min() < 0.01
    assert 0.99 < backward[~kept].max() <= 1
    assert abs(torch.corrcoef(torch.stack([forward[~kept], backward[~kept]]))[0, 1]) < 0.05
    assert torch.equal(shake.eval()(features), features * 0.5)
    network = pyramid_net(20, 48, shake_drop=0.5).build(10)
    rates = [module.p for module in network.modules() if isinstance(module, ShakeDrop)]
    assert rates == pytest.approx([0.5 * (block + 1) / 9 for block in range(9)])


def test_whitening_bias_is_trained_and_then_frozen() -> None:
    network = Architecture(stem=WhiteningStem(bias_epochs=2), depths=(1,), widths=(8,)).build(10)
    bias = network.stem[0].bias
    assert torch.equal(bias, torch.zeros(24))
    set_progress(network, TrainingProgress(19, 40, 10))
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    assert float(bias.grad.abs().sum()) > 0
    set_progress(network, TrainingProgress(20, 40, 10))
    bias.grad = None
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    assert bias.grad is None
    set_progress(network, TrainingProgress(0, 40, 10))
    assert bias.requires_grad


def test_conv_block() -> None:
    block = ConvBlock(num_convs=2).build(4, 4, 1, LAYERS).eval()
    hidden = F.relu(block.branch[1](block.branch[0](IMAGES)))
    hidden = F.relu(block.branch[4](block.branch[3](hidden)))
    torch.testing.assert_close(block(IMAGES), IMAGES + hidden)


def test_whitening_stem_whitens_the_patches_of_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    images = F.avg_pool2d(torch.randn(200, 3, 18, 18, generator=generator), 3, 1)
    network = Architecture(stem=WhiteningStem(epsilon=1e-9), depths=(1,), widths=(8,)).build(10)
    init_whitening(network, images, lambda batch: batch)
    whitening = network.stem[0]
    assert not whitening.weight.requires_grad
    out = whitening(images).transpose(0, 1).flatten(1)
    assert out.shape[0] == 24
    covariance = out[:12] @ out[:12].T / out.shape[1]
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.02, rtol=0)
    assert torch.equal(out[12:], -out[:12])


def test_images_are_normalized_only_for_whitening_layers() -> None:
    def refuse(_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("normalized for nothing")

    init_whitening(RESNET18.build(10), torch.zeros(8, 3, 8, 8, dtype=torch.uint8), refuse)


def test_whitening_convolution_counts_for_the_depth() -> None:
    """The stem, two convolutions for each of three stages, and the linear layer."""
    assert summarize(built_in("pocket").architecture.build(100)).depth == 8


def test_pooled_stages_and_dirac_initialization() -> None:
    network = Architecture(
        stem=ConvStem(width=4),
        depths=(1, 2),
        widths=(8, 8),
        strides=(1, 2),
        block=ConvBlock(),
        downsampling="pooled",
        norm=BatchNorm(scale=False),
        head_bias=False,
        head_init_std=1e-3,
        initialization="dirac",
    ).build(10)
    first, pool, norm, _, *blocks = network.stages[1]
    assert (pool.kernel_size, len(blocks)) == (2, 2)
    assert not norm.weight.requires_grad
    torch.testing.assert_close(first(IMAGES.repeat(1, 2, 1, 1)), IMAGES.repeat(1, 2, 1, 1))
    assert network.head[-1].bias is None
    assert network.head[-1].weight.std().item() == pytest.approx(1e-3, rel=0.3)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_dirac_initialization_of_grouped_convolutions() -> None:
    """Each group gets its identity filters; no filter is zero."""
    architecture = Architecture(
        stem=ConvStem(width=8),
        depths=(1,),
        widths=(8,),
        block=Bottleneck(groups=4),
        initialization="dirac",
    )
    convs = [m for m in architecture.build(10).modules() if isinstance(m, torch.nn.Conv2d)]
    grouped = [conv for conv in convs if conv.groups > 1]
    assert grouped
    for conv in grouped:
        assert (conv.weight.flatten(1).norm(dim=1) > 0).all()
        images = torch.rand(2, conv.in_channels, 4, 4)
        if conv.stride == (1, 1) and conv.in_channels == conv.out_channels:
            torch.testing.assert_close(conv(images), images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_deterministic_max_pooling_has_the_same_bits(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    """Its gradient too, where several positions have the maximum."""
    features = torch.randint(-3, 4, (4, 16, 7, 7)).clamp(min=0).to(dtype)
    features[0] = 0
    features = features.contiguous(memory_format=layout)
    outputs, gradients = [], []
    for pool in (GlobalMaxPool(), max_over_positions):
        leaf = features.clone().requires_grad_()
        outputs.append(pool(leaf))
        torch.manual_seed(0)
        outputs[-1].backward(torch.randn(outputs[-1].shape).to(dtype))
        gradients.append(leaf.grad)
    assert torch.equal(*outputs)
    assert torch.equal(*gradients)
