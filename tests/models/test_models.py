"""Networks: counts, shapes, initialisation, and the arithmetic of each block."""

import hashlib
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from residua.models import (
    CBAM,
    Architecture,
    BasicBlock,
    Bottleneck,
    ConvBlock,
    ConvStem,
    MaxPool,
    PreActBlock,
    Projection,
    SqueezeExcitation,
    WhiteningStem,
    ZeroPadding,
    set_progress,
    summarize,
    wide_resnet,
)
from residua.models.attention import SEModule
from residua.models.blocks import LayerFactory, ResidualBlock
from residua.models.layers import Dropout, convolution
from residua.recipes import built_in
from residua.schedules import Phases, TrainingProgress

RESNET18 = Architecture()
TINY = Architecture(stem=ConvStem(width=4), depths=(1, 1), widths=(4, 8))


@pytest.mark.parametrize(
    ("architecture", "parameters", "layers"),
    [
        (built_in("resnet44").architecture, 30_032_292, 42),
        (built_in("resnet44v2").architecture, 5_941_316, 50),
        (built_in("resnet44v2_run1").architecture, 2_648_132, 44),
        (built_in("wrn28_10").architecture, 36_536_884, 26),
        (built_in("resnet26w").architecture, 3_903_620, 26),
        (built_in("resnet34").architecture, 21_328_292, 34),
        (RESNET18, 11_220_132, 18),
        (Architecture(depths=(3, 4, 6, 3), block=Bottleneck()), 23_705_252, 50),
    ],
)
def test_parameters_and_depth(architecture: Architecture, parameters: int, layers: int) -> None:
    summary = summarize(architecture.build(100))
    assert summary.parameters == summary.trainable == parameters
    assert summary.depth == layers


def test_summary_of_resnet44_has_the_published_sizes() -> None:
    summary = summarize(built_in("resnet44").architecture.build(100))
    assert round(summary.parameters_mib, 2) == 114.56
    assert round(summary.input_mib, 2) == 0.01
    assert summary.multiply_adds == pytest.approx(1.46e9, rel=0.01)


def test_resnext_groups_its_convolution() -> None:
    block = Bottleneck(groups=4, inner=1.0)
    network = Architecture(depths=(1,), widths=(16,), stem=ConvStem(width=8), block=block).build(10)
    grouped = [module for module in network.modules() if getattr(module, "groups", 1) == 4]
    assert [tuple(module.weight.shape) for module in grouped] == [(16, 4, 3, 3)]
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def digest(architecture: Architecture, seed: int) -> str:
    content = hashlib.sha256()
    for name, value in architecture.build(10, seed).state_dict().items():
        content.update(name.encode() + value.numpy().tobytes())
    return content.hexdigest()[:16]


def test_initialisation_snapshot() -> None:
    """Weights of a seed are part of a recipe's meaning: a change here changes every result."""
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert digest(TINY, 0) == digest(TINY, 0) == SNAPSHOT
    assert torch.equal(torch.random.get_rng_state(), before)
    assert digest(TINY, 1) != SNAPSHOT


SNAPSHOT = "d68e0f79b7bee86c"


def test_initialisation_scales() -> None:
    network = RESNET18.build(100)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert float(module.weight.detach().std()) == pytest.approx(
                (2 / fan_out) ** 0.5, rel=0.1
            )
    plain = RESNET18.model_copy(update={"initialization": "torch"}).build(100)
    assert plain.stages[0][0].branch[0].weight.std().item() == pytest.approx(
        (1 / (3 * 64 * 9)) ** 0.5, rel=0.1
    )


def style(**changes: object) -> LayerFactory:
    return LayerFactory(**({"activation": "relu", "norm": torch.nn.BatchNorm2d, "shortcut": Projection(),
                     "attention": None} | changes))  # type: ignore[arg-type]  # fmt: skip


IMAGES = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_basic_block() -> None:
    block = BasicBlock().build(4, 6, 2, style()).eval()
    first, norm1, _, second, norm2 = block.branch
    hidden = norm2(second(F.relu(norm1(first(IMAGES)))))
    wanted = F.relu(hidden + block.shortcut(IMAGES))
    torch.testing.assert_close(block(IMAGES), wanted)
    assert wanted.shape == (2, 6, 4, 4)
    unactivated = BasicBlock(activated=False).build(4, 4, 1, style()).eval()
    assert unactivated(IMAGES).min().item() < 0
    torch.testing.assert_close(unactivated(IMAGES), unactivated.branch(IMAGES) + IMAGES)


@pytest.mark.parametrize(
    ("skip", "width", "activated"),
    [
        ("input", 4, False),
        ("activated", 4, True),
        ("activated_when_projected", 4, False),
        ("activated_when_projected", 6, True),
    ],
)
def test_preactivation_block_and_what_its_skip_takes(
    skip: str, width: int, activated: bool
) -> None:
    value = PreActBlock.model_validate({"skip": skip})
    block = value.build(4, width, 1, style()).eval()
    entering = F.relu(block.before[0](IMAGES))
    taken = entering if activated else IMAGES
    wanted = block.branch(entering) + block.shortcut(taken)
    torch.testing.assert_close(block(IMAGES), wanted)


def test_zero_padded_shortcut_has_no_parameters() -> None:
    shortcut = ZeroPadding().build(4, 8, 2, torch.nn.BatchNorm2d)
    out = shortcut(IMAGES)
    assert torch.equal(out[:, 2:6], IMAGES[:, :, ::2, ::2])
    assert float(out[:, :2].abs().sum() + out[:, 6:].abs().sum()) == 0
    assert not list(shortcut.parameters())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("side", [8, 9])
def test_strided_projections_of_few_channels_are_the_same_function(side: int, groups: int) -> None:
    ours = convolution(4, 8, 1, stride=2, groups=groups)
    plain = nn.Conv2d(4, 8, 1, 2, groups=groups, bias=False)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(3, 4, side, side)
    outputs = [each(images) for each in (ours, plain)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


NARROW = """
import torch
from residua.models import Architecture, Stem

torch.set_num_threads(2)
network = Architecture(stem=Stem(width=4), depths=(1, 1), widths=(4, 8)).build(10)
network.to(memory_format=torch.channels_last)
images = torch.zeros(7, 3, 32, 32).contiguous(memory_format=torch.channels_last)
for _ in range(60):
    network(images).sum().backward()
"""


def test_narrow_networks_do_not_write_outside_their_memory() -> None:
    """In a process of its own: oneDNN's strided 1 x 1 convolutions of few channels crash it."""
    done = subprocess.run([sys.executable, "-c", NARROW], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_squeeze_excitation_weighs_channels_at_the_end_of_every_branch() -> None:
    gate = SqueezeExcitation(reduction=2).build(4)
    weights = torch.sigmoid(gate.excite(F.relu(gate.squeeze(IMAGES.mean((2, 3))))))
    torch.testing.assert_close(gate(IMAGES), IMAGES * weights[:, :, None, None])
    for block in (BasicBlock(), PreActBlock(), Bottleneck()):
        network = TINY.model_copy(update={"block": block, "attention": SqueezeExcitation()})
        blocks = [m for m in network.build(10).modules() if isinstance(m, ResidualBlock)]
        assert len(blocks) == 2
        assert all(isinstance(each.branch[-1], SEModule) for each in blocks)


def test_wrn_has_its_form() -> None:
    network = wide_resnet(28, 10, dropout=0.3).build(100)
    assert [len(stage) for stage in network.stages] == [4, 4, 4]
    assert len(network.stem) == 1
    assert sum(isinstance(module, Dropout) for module in network.modules()) == 12
    with pytest.raises(ValueError, match="6n"):
        wide_resnet(27, 10)


def test_resnet26w_has_its_form() -> None:
    network = built_in("resnet26w").architecture.build(100)
    assert isinstance(network.stem[-1], Dropout)
    assert network.stages[1][0].shortcut[0].kernel_size == (3, 3)
    assert isinstance(network.stages[0][0].shortcut, torch.nn.Identity)
    assert network.head[0].kernel_size == 4
    assert isinstance(network.stages[0][0].after, torch.nn.Identity)


def test_dropout_follows_its_schedule_and_rests_in_evaluation() -> None:
    dropout = Dropout(Phases(boundaries=(2,), values=(0.5, 0.0)))
    ones = torch.ones(1000)
    set_progress(dropout, TrainingProgress(0, 4, 1))
    assert 0.4 < float((dropout(ones) == 0).float().mean()) < 0.6
    assert torch.equal(dropout.eval()(ones), ones)
    set_progress(dropout.train(), TrainingProgress(2, 4, 1))
    assert torch.equal(dropout(ones), ones)


def test_stages_must_agree() -> None:
    with pytest.raises(ValidationError, match="one entry for each stage"):
        Architecture(depths=(1, 2), widths=(8,))


BLOCKS = st.sampled_from(
    [BasicBlock(), BasicBlock(activated=False), PreActBlock(), PreActBlock(skip="activated"),
     Bottleneck(expansion=2)]
)  # fmt: skip


@given(
    block=BLOCKS,
    depths=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    shortcut=st.sampled_from([Projection(), Projection(kernel=3, norm=False), ZeroPadding()]),
    attention=st.sampled_from([None, SqueezeExcitation(), CBAM()]),
    pooling=st.sampled_from([None, MaxPool()]),
)
@settings(max_examples=20, deadline=None)
def test_any_point_of_the_space_runs_and_survives_json(
    block: BasicBlock, depths: list[int], shortcut: Projection, attention: object, pooling: object
) -> None:
    architecture = Architecture.model_validate(
        {
            "stem": ConvStem(width=4),
            "depths": depths,
            "widths": [4 * 2**stage for stage in range(len(depths))],
            "block": block,
            "shortcut": shortcut,
            "attention": attention,
            **({"pooling": pooling} if pooling else {}),
        }
    )
    assert Architecture.model_validate_json(architecture.model_dump_json()) == architecture
    network = architecture.build(7)
    logits = network(torch.randn(2, 3, 16, 16))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_plain_block() -> None:
    block = ConvBlock(convolutions=2).build(4, 4, 1, style()).eval()
    hidden = F.relu(block.branch[1](block.branch[0](IMAGES)))
    hidden = F.relu(block.branch[4](block.branch[3](hidden)))
    torch.testing.assert_close(block(IMAGES), IMAGES + hidden)


def test_whitened_stem_whitens_the_patches_it_was_fitted_to() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = F.avg_pool2d(torch.randn(200, 3, 18, 18, generator=generator), 3, 1)
    network = Architecture(stem=WhiteningStem(epsilon=1e-9), depths=(1,), widths=(8,)).build(10)
    init_whitening(network, smooth)
    whitening = network.stem[0]
    assert not whitening.weight.requires_grad
    out = whitening(smooth).transpose(0, 1).flatten(1)
    assert out.shape[0] == 24
    covariance = out[:12] @ out[:12].T / out.shape[1]
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.02, rtol=0)
    assert torch.equal(out[12:], -out[:12])


def test_pooled_stages_and_identity_initialisation() -> None:
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
