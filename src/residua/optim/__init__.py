"""What moves the weights."""

from residua.optim.average import EMA, holding
from residua.optim.sgd import SGD

Optimizer = SGD

__all__ = ["EMA", "SGD", "Optimizer", "holding"]
