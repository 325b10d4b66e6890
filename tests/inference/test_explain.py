"""Activation maps, filters and Grad-CAM of networks whose answers are known."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from residua.inference.explain import (
    activation_maps,
    first_layer_filters,
    grad_cam,
    image_grid,
    overlay_heatmap,
)
from residua.models import Architecture, BasicBlock, ConvStem, PreActBlock, ResidualNetwork

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


def test_figures_are_written(tmp_path: Path) -> None:
    net = network(BasicBlock())
    maps, filters = activation_maps(net, IMAGE), first_layer_filters(net)
    assert len(image_grid(maps["stage2"], columns=3).axes) == 8
    image_grid(filters, title="first layer").savefig(tmp_path / "filters.png")
    shown = (IMAGE - IMAGE.min()) / (IMAGE.max() - IMAGE.min())
    overlay_heatmap(shown, grad_cam(net, IMAGE), "class 3").savefig(tmp_path / "cam.svg")
    assert (tmp_path / "filters.png").read_bytes()[:4] == b"\x89PNG"
    assert "</svg>" in (tmp_path / "cam.svg").read_text()
