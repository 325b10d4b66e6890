"""A tiny architecture for the tests of the models."""

from typing import Any

from residua.models import Architecture, ConvStem


def tiny(**changes: Any) -> Architecture:
    """Two stages of one block, 4 and 8 channels, with some fields changed."""
    fields = {"stem": ConvStem(width=4), "depths": (1, 1), "widths": (4, 8)}
    return Architecture.model_validate(fields | changes)
