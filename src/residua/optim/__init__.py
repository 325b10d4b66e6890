"""Optimisers, weight averages, sharpness-aware minimization and the loss."""

from typing import Annotated

from pydantic import Field

from residua.optim.adamw import AdamW
from residua.optim.loss import CrossEntropy
from residua.optim.muon import Muon
from residua.optim.sam import SAM, plain_gradients
from residua.optim.sgd import SGD
from residua.optim.weight_average import EMA, SWA, Lookahead, WeightAverage, swapped_weights

Optimizer = Annotated[SGD | AdamW | Muon, Field(discriminator="kind")]

__all__ = [
    "EMA",
    "SAM",
    "SGD",
    "SWA",
    "AdamW",
    "CrossEntropy",
    "Lookahead",
    "Muon",
    "Optimizer",
    "WeightAverage",
    "plain_gradients",
    "swapped_weights",
]
