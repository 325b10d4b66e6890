"""What moves the weights."""

from typing import Annotated

from pydantic import Field

from residua.optim.average import EMA, SWA, Average, holding
from residua.optim.muon import Muon
from residua.optim.sam import SAM, here
from residua.optim.sgd import SGD

Optimizer = Annotated[SGD | Muon, Field(discriminator="kind")]

__all__ = ["EMA", "SAM", "SGD", "SWA", "Average", "Muon", "Optimizer", "here", "holding"]
