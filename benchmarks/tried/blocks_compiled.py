"""Our loop with every block compiled by itself: equal blocks share their code."""

from typing import Any

import torch
from speed import ours
from speed.serve import serve

from residua.models.blocks import ResidualBlock


class Compiled(ResidualBlock):
    """A block that compiles itself at its first call."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self.compile(dynamic=False)


if __name__ == "__main__":
    # One entry for every kind of block, and for training and evaluation.
    torch._dynamo.config.recompile_limit = 64
    from residua.models import blocks

    blocks.ResidualBlock = Compiled  # type: ignore[misc]
    serve(ours.loop)
