"""The network module of every architecture."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


class ResidualNetwork(nn.Module):
    """A stem, stages of residual blocks, and a head that ends in a linear layer.

    Args:
        stem: (N, channels, H, W) to (N, C, H, W).
        stages: the stages, in order.
        head: pooling and the linear layer, to logits (N, classes).
    """

    def __init__(self, stem: nn.Module, stages: nn.Sequential, head: nn.Sequential) -> None:
        super().__init__()
        self.stem, self.stages, self.head = stem, stages, head

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 to logits (N, classes); the linear layer is always in float32."""
        features = self.features(images)
        with _autocast_disabled(images.device.type):
            logits: Tensor = self.head[-1](features.float())
        return logits

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 to the input of the linear layer, (N, D)."""
        features: Tensor = self.head[:-1](self.stages(self.stem(images)))
        return features

    @property
    def first_convolution(self) -> nn.Conv2d:
        """The convolution whose input is the images."""
        return next(module for module in self.modules() if isinstance(module, nn.Conv2d))

    def layer_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parameters of `stem`, `stage1` ... and `head`, without empty groups."""
        stages = {f"stage{number}": stage for number, stage in enumerate(self.stages, 1)}
        modules = {"stem": self.stem, **stages, "head": self.head}
        groups = {
            name: [parameter for parameter in module.parameters() if parameter.requires_grad]
            for name, module in modules.items()
        }
        return {name: parameters for name, parameters in groups.items() if parameters}


def _autocast_disabled(device: str) -> AbstractContextManager[None]:
    """Disable autocast; the meta device has none."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


class NormalizedNetwork(nn.Module):
    """A network with its normalization in front: what inference, export and publishing use.

    Args:
        normalize: (N, channels, H, W) uint8, or float32 in [0, 255], to the network's input.
        network: to logits.
    """

    def __init__(self, normalize: nn.Module, network: ResidualNetwork) -> None:
        super().__init__()
        self.normalize, self.network = normalize, network

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) uint8 to logits (N, classes) float32."""
        logits: Tensor = self.network(self.normalize(images))
        return logits
