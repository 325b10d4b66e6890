"""Residual networks: one space of architectures, one module that runs them."""

from residua.models.architecture import Architecture, Stem, wide
from residua.models.blocks import Basic, Bottleneck, PreActivation
from residua.models.network import ResidualNetwork
from residua.models.parts import (
    AveragePool,
    MaxPool,
    Projection,
    SqueezeExcitation,
    ZeroPadding,
    set_clock,
)
from residua.models.summary import Summary, summarise

__all__ = [
    "Architecture",
    "AveragePool",
    "Basic",
    "Bottleneck",
    "MaxPool",
    "PreActivation",
    "Projection",
    "ResidualNetwork",
    "SqueezeExcitation",
    "Stem",
    "Summary",
    "ZeroPadding",
    "set_clock",
    "summarise",
    "wide",
]
