"""Deep residual networks on small images: from one command to a trained, tested, explained model.

import residua

recipe = residua.resolve("resnet44", ["--epochs", "1"])
for event in residua.train(recipe, "runs/one"):
...
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from residua.errors import UserError
    from residua.recipe import Recipe
    from residua.recipe_forms import resolve
    from residua.run import Run
    from residua.training import resume, train

__all__ = ["Recipe", "Run", "UserError", "resolve", "resume", "train"]

_HOMES = {
    "Recipe": "recipe",
    "Run": "run",
    "UserError": "errors",
    "resolve": "recipe_forms",
    "resume": "training",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `residua --help` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
