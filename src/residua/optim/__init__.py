"""What moves the weights."""

from typing import Annotated

from pydantic import Field

from residua.optim.loss import CrossEntropy
from residua.optim.muon import Muon
from residua.optim.sam import SAM, plain_gradients
from residua.optim.sgd import SGD
from residua.optim.weight_average import EMA, SWA, Average, swapped_weights

Optimizer = Annotated[SGD | Muon, Field(discriminator="kind")]

__all__ = [
    "EMA",
    "SAM",
    "SGD",
    "SWA",
    "Average",
    "CrossEntropy",
    "Muon",
    "Optimizer",
    "plain_gradients",
    "swapped_weights",
]
