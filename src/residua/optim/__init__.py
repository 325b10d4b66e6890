"""What moves the weights."""

from typing import Annotated

from pydantic import Field

from residua.optim.average import EMA, holding
from residua.optim.muon import Muon
from residua.optim.sgd import SGD

Optimizer = Annotated[SGD | Muon, Field(discriminator="kind")]

__all__ = ["EMA", "SGD", "Muon", "Optimizer", "holding"]
