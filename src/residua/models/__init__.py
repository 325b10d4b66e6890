"""Residual networks: one space of architectures, one module that runs them."""

from residua.models.architecture import Architecture, possible, wide
from residua.models.attention import CBAM, SqueezeExcitation
from residua.models.blocks import Basic, Bottleneck, Plain, PreActivation
from residua.models.network import ResidualNetwork
from residua.models.parts import (
    AveragePool,
    MaxPool,
    Projection,
    StochasticDepth,
    ZeroPadding,
    set_clock,
)
from residua.models.stems import Stem, Whitened, fit
from residua.models.summary import Summary, summarise, training_flops

__all__ = [
    "CBAM",
    "Architecture",
    "AveragePool",
    "Basic",
    "Bottleneck",
    "MaxPool",
    "Plain",
    "PreActivation",
    "Projection",
    "ResidualNetwork",
    "SqueezeExcitation",
    "Stem",
    "StochasticDepth",
    "Summary",
    "Whitened",
    "ZeroPadding",
    "fit",
    "possible",
    "set_clock",
    "summarise",
    "training_flops",
    "wide",
]
