"""The one module that runs every architecture."""

from torch import Tensor, nn


class ResidualNetwork(nn.Module):
    """A stem, stages of residual blocks, and a head.

    Args:
        stem: (N, 3, H, W) to (N, C, H, W).
        stages: the stages, one after another.
        head: to logits (N, classes).
    """

    def __init__(self, stem: nn.Module, stages: nn.Sequential, head: nn.Sequential) -> None:
        super().__init__()
        self.stem, self.stages, self.head = stem, stages, head

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 to logits (N, classes)."""
        logits: Tensor = self.head(self.stages(self.stem(images)))
        return logits
