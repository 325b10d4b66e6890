"""Activation maps, filters and Grad-CAM of networks whose answers are known."""

import pytest
import torch
import torch.nn.functional as F

from residua.errors import UserError
from residua.inference.explain import (
    activation_maps,
    channel_mosaic,
    filter_mosaic,
    first_layer_filters,
    grad_cam,
    integrated_gradients,
    overlay_attribution,
    overlay_heatmap,
)
from residua.models import (
    CBAM,
    Architecture,
    BasicBlock,
    Bottleneck,
    ConvBlock,
    ConvStem,
    MaxPool,
    PreActBlock,
    ResidualNetwork,
    SqueezeExcitation,
)

IMAGE = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))


def network(block: BasicBlock | PreActBlock) -> ResidualNetwork:
    made = Architecture(stem=ConvStem(width=4), depths=(1, 1), widths=(4, 8), block=block).build(5)
    return made.train()


@pytest.mark.parametrize("block", [BasicBlock(), PreActBlock()])
def test_activation_maps_are_the_outputs_of_the_stages(block: BasicBlock | PreActBlock) -> None:
    net = network(block)
    statistics = {name: value.clone() for name, value in net.state_dict().items()}
    maps = activation_maps(net, IMAGE)
    assert {name: tuple(found.shape) for name, found in maps.items()} == {
        "stem": (4, 16, 16),
        "stage1": (4, 16, 16),
        "stage2": (8, 8, 8),
    }
    assert net.training
    assert all(torch.equal(value, statistics[name]) for name, value in net.state_dict().items())
    with torch.no_grad():
        net.eval()
        wanted = net.stages[0](net.stem(IMAGE[None]))[0]
    torch.testing.assert_close(maps["stage1"], wanted)
    torch.testing.assert_close(
        net.head(maps["stage2"][None]), net(IMAGE[None]), atol=1e-5, rtol=1e-5
    )


def test_each_filter_is_rescaled_by_itself() -> None:
    net = network(BasicBlock())
    with torch.no_grad():
        net.stem[0].weight[0] = 2.0
        net.stem[0].weight[1] = torch.linspace(-3, 1, 27).view(3, 3, 3)
    filters = first_layer_filters(net)
    assert filters.shape == (4, 3, 3, 3)
    assert not filters[0].any()
    torch.testing.assert_close(filters[1].flatten(), torch.linspace(0, 1, 27))
    assert (filters[2].min(), filters[2].max()) == (0, 1)


@pytest.mark.parametrize("target", [None, 3])
def test_grad_cam_of_the_last_stage_equals_its_formula(target: int | None) -> None:
    """Average pooling and one linear layer: the mean gradient is the layer's weight over H x W."""
    net = network(BasicBlock())
    with torch.no_grad():
        net.eval()
        features = net.stages(net.stem(IMAGE[None]))
        logits = net(IMAGE[None])[0]
    chosen = int(logits.argmax()) if target is None else target
    with torch.no_grad():
        weights = net.head[-1].weight[chosen] / 64
        small = (weights[:, None, None] * features[0]).sum(0).relu()
        wanted = F.interpolate(small[None, None], (16, 16), mode="bilinear")[0, 0]
    net.train()
    found = grad_cam(net, IMAGE, target)
    torch.testing.assert_close(found, wanted / wanted.max(), atol=1e-5, rtol=1e-4)
    assert net.training
    assert all(weight.grad is None for weight in net.parameters())


def test_grad_cam_of_an_earlier_stage_equals_autograd() -> None:
    net = network(PreActBlock()).eval()
    features = net.stages[0](net.stem(IMAGE[None])).detach().requires_grad_()
    net.head(net.stages[1](features))[0, 2].backward()
    assert features.grad is not None
    weights = features.grad.mean((2, 3), keepdim=True)
    wanted = (weights * features).sum(1)[0].relu().detach()
    torch.testing.assert_close(grad_cam(net, IMAGE, 2, stage=0), wanted / wanted.max())
    torch.testing.assert_close(grad_cam(net, IMAGE, 2, 1), grad_cam(net, IMAGE, 2))
    with pytest.raises(IndexError):
        grad_cam(net, IMAGE, 2, stage=2)


def test_activation_maps_of_chosen_layers_survive_later_layers_in_place() -> None:
    net = network(PreActBlock()).eval()
    maps = activation_maps(net, IMAGE, ["stages.0.0.branch.1", "stages.1.0.before.0", "stage2"])
    assert [tuple(found.shape) for found in maps.values()] == [(4, 16, 16), (4, 16, 16), (8, 8, 8)]
    with torch.no_grad():
        wanted = net.stages[1][0].before[0](net.stages[0](net.stem(IMAGE[None])))[0]
    torch.testing.assert_close(maps["stages.1.0.before.0"], wanted)
    assert (wanted < 0).any(), "the ReLU after this layer works in place"
    assert not net.stem[0]._forward_hooks


@pytest.mark.parametrize("layer", ["stage3", "", "head.2", "stages.0.0.nothing"])
def test_layers_without_maps_are_refused(layer: str) -> None:
    with pytest.raises(UserError, match=r"there is no layer|has no feature maps"):
        activation_maps(network(BasicBlock()), IMAGE, [layer])


def test_integrated_gradients_of_a_linear_network_are_exact() -> None:
    net = network(BasicBlock())
    weight = torch.randn(5, 3 * 16 * 16)
    net.forward = lambda images: images.flatten(1) @ weight.T
    found = integrated_gradients(net, IMAGE, 2, baseline=torch.ones_like(IMAGE), steps=3)
    torch.testing.assert_close(found.values, (IMAGE - 1) * weight[2].view(3, 16, 16))
    assert found.error < 1e-3


def test_integrated_gradients_take_more_steps_until_they_are_complete() -> None:
    net = trained_statistics(Architecture(stem=ConvStem(width=8), depths=(2, 2), widths=(8, 16)))
    few, enough = (integrated_gradients(net, IMAGE, 1, steps=steps) for steps in (1, None))
    assert few.error > 10 * enough.error
    assert enough.is_complete
    assert enough.total == pytest.approx(enough.difference, abs=0.01 * max(1, enough.difference))
    assert enough.steps in (32, 64, 128, 256)
    assert all(weight.grad is None for weight in net.parameters())


def trained_statistics(architecture: Architecture) -> ResidualNetwork:
    """A network whose normalization layers have seen images, so that no logit explodes."""
    net = architecture.build(5).train()
    with torch.no_grad():
        for seed in range(20):
            net(torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(seed)))
    return net.eval()


CAPTUM_NETWORKS = {
    "basic": {},
    "preact": {"block": PreActBlock()},
    "bottleneck": {"block": Bottleneck()},
    "conv_silu": {
        "block": ConvBlock(), "activation": "silu", "downsampling": "pooled",
        "pooling": MaxPool(), "head_bias": False,
    },
    "squeeze_excitation": {"attention": SqueezeExcitation(reduction=2)},
    "cbam": {"attention": CBAM(reduction=2), "block": PreActBlock()},
}  # fmt: skip


@pytest.mark.extra("captum")
@pytest.mark.parametrize("fields", CAPTUM_NETWORKS.values(), ids=CAPTUM_NETWORKS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of captum, about gradients of inputs
def test_explanations_equal_those_of_captum(fields: dict) -> None:
    from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam

    shape = {"stem": ConvStem(width=8), "depths": (1, 2), "widths": (8, 16)}
    net = trained_statistics(Architecture.model_validate(shape | fields))
    for target in (0, 3):
        for stage in (0, 1):
            raw = LayerGradCam(net, net.stages[stage]).attribute(
                IMAGE[None], target=target, relu_attributions=True
            )
            wanted = LayerAttribution.interpolate(raw, (16, 16), "bilinear")[0, 0].detach()
            found = grad_cam(net, IMAGE, target, stage)
            assert wanted.max() > 0
            torch.testing.assert_close(found, wanted / wanted.max(), atol=1e-5, rtol=1e-4)
        for baseline in (None, IMAGE.flip(2)):
            reference = IntegratedGradients(net)
            other = None if baseline is None else baseline[None]
            wanted, delta = reference.attribute(
                IMAGE[None], other, target, n_steps=40, return_convergence_delta=True
            )
            found = integrated_gradients(net, IMAGE, target, baseline, steps=40)
            scale = float(wanted.abs().max())
            torch.testing.assert_close(found.values / scale, wanted[0] / scale, atol=1e-5, rtol=0)
            assert found.total - found.difference == pytest.approx(float(delta), abs=1e-4)


def test_overlays_show_where_the_values_are() -> None:
    image = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    heatmap = torch.zeros(8, 8)
    heatmap[:4] = 1
    overlay = overlay_heatmap(image, heatmap, scale=2).float().mean(0)
    assert overlay.shape == (16, 16)
    assert overlay[:4].min() > overlay[-4:].max()
    values = torch.zeros(3, 8, 8)
    values[:, 0, 0], values[:, 7, 7] = 1, -1
    red, _, blue = overlay_attribution(image, values, scale=1).float()
    assert blue[0, 0] > red[0, 0]
    assert red[7, 7] > blue[7, 7]
    assert red[3, 3] == blue[3, 3]
    assert overlay_attribution(image, torch.zeros(3, 8, 8)).dtype == torch.uint8


def test_mosaics_keep_the_images_apart() -> None:
    net = network(BasicBlock())
    filters = filter_mosaic(net.first_convolution.weight.detach(), 3)
    assert filters.shape == (8, 8, 4)
    assert torch.equal(filters[:3, :3, :3].permute(2, 0, 1), first_layer_filters(net)[0])
    assert not filters[3].any()
    assert not filters[4:, 4:].any(), "there is no fourth filter"
    channels = torch.stack([torch.eye(4), 5 * torch.eye(4).flip(0), torch.zeros(4, 4)])
    shown = channel_mosaic(channels, limit=2)
    assert shown.shape == (5, 10, 4)
    assert torch.equal(shown[:4, :4, 0], torch.eye(4).flip(0))
