"""The loop of `residua train` with each block compiled separately; equal blocks share code."""

from typing import Any

import torch
from speed import ours
from speed.worker import serve

from residua.models.blocks import ResidualBlock


class CompiledBlock(ResidualBlock):
    """A block that is compiled at its first call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.compile(dynamic=False)


if __name__ == "__main__":
    # One cache entry for each kind of block, in training and in evaluation mode.
    torch._dynamo.config.recompile_limit = 64
    from residua.models import blocks

    blocks.ResidualBlock = CompiledBlock  # type: ignore[misc]
    serve(ours.loop)
