"""Residual networks: architectures as recipe values, and the module that runs them."""

from residua.models.architecture import Architecture, architecture_errors, pyramid_net, wide_resnet
from residua.models.attention import CBAM, SqueezeExcitation
from residua.models.blocks import (
    BasicBlock,
    Bottleneck,
    ConvBlock,
    PreActBlock,
    PyramidBlock,
    PyramidBottleneck,
)
from residua.models.layers import (
    AveragePool,
    BatchNorm,
    GroupNorm,
    MaxPool,
    NoNorm,
    Projection,
    ShakeDrop,
    StochasticDepth,
    ZeroPadding,
    set_progress,
    set_share,
)
from residua.models.network import ResidualNetwork
from residua.models.stems import WHITENING_IMAGES, ConvStem, WhiteningStem, init_whitening
from residua.models.summary import LayerSummary, Summary, summarize, training_flops
from residua.models.sync_batch_norm import SyncBatchNorm2d

__all__ = [
    "CBAM",
    "WHITENING_IMAGES",
    "Architecture",
    "AveragePool",
    "BasicBlock",
    "BatchNorm",
    "Bottleneck",
    "ConvBlock",
    "ConvStem",
    "GroupNorm",
    "LayerSummary",
    "MaxPool",
    "NoNorm",
    "PreActBlock",
    "Projection",
    "PyramidBlock",
    "PyramidBottleneck",
    "ResidualNetwork",
    "ShakeDrop",
    "SqueezeExcitation",
    "StochasticDepth",
    "Summary",
    "SyncBatchNorm2d",
    "WhiteningStem",
    "ZeroPadding",
    "architecture_errors",
    "init_whitening",
    "pyramid_net",
    "set_progress",
    "set_share",
    "summarize",
    "training_flops",
    "wide_resnet",
]
