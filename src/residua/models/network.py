"""The one module that runs every architecture."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


class ResidualNetwork(nn.Module):
    """A stem, stages of residual blocks, and a head that ends in a linear layer.

    Args:
        stem: (N, 3, H, W) to (N, C, H, W).
        stages: the stages, one after another.
        head: to logits (N, classes).
    """

    def __init__(self, stem: nn.Module, stages: nn.Sequential, head: nn.Sequential) -> None:
        super().__init__()
        self.stem, self.stages, self.head = stem, stages, head

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 to logits (N, classes) float32, whatever the precision before."""
        features = self.head[:-1](self.stages(self.stem(images)))
        with _unmixed(images.device.type):
            logits: Tensor = self.head[-1](features.float())
        return logits

    @property
    def first_convolution(self) -> nn.Conv2d:
        """The convolution that sees the images."""
        return next(module for module in self.modules() if isinstance(module, nn.Conv2d))

    def layer_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters of `stem`, `stage1` ... and `head`; parts without any left out."""
        stages = {f"stage{place}": stage for place, stage in enumerate(self.stages, 1)}
        parts = {"stem": self.stem, **stages, "head": self.head}
        trained = {
            name: [weight for weight in part.parameters() if weight.requires_grad]
            for name, part in parts.items()
        }
        return {name: weights for name, weights in trained.items() if weights}


def _unmixed(device: str) -> AbstractContextManager[None]:
    """Full precision, also within automatic mixed precision; shapes-only devices know neither."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


class NormalizedNetwork(nn.Module):
    """A network with its normalization in front: what inference, export and publishing use.

    Args:
        normalize: (N, 3, H, W) uint8, or float32 in [0, 255], to the network's input.
        network: to logits.
    """

    def __init__(self, normalize: nn.Module, network: ResidualNetwork) -> None:
        super().__init__()
        self.normalize, self.network = normalize, network

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 to logits (N, classes) float32."""
        logits: Tensor = self.network(self.normalize(images))
        return logits
