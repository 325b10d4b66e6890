"""Deep residual networks on small images: from one command to a trained, tested, explained model.

import residua

recipe = residua.resolve("resnet44", ["--epochs", "1"])
run = residua.fit(recipe, "runs/one")
classifier = residua.load(run)
classifier.predict("picture.png").labels
"""

# Nothing is imported here, not even `typing`: until the command line is imported, Ctrl-C is a
# traceback. Type checkers take this name to be true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from residua.errors import UserError
    from residua.inference.classifier import Classifier, evaluate, load, load_predictor
    from residua.inference.images import UnreadableImage
    from residua.integrations.observers import fit
    from residua.recipes.loading import resolve
    from residua.recipes.recipe import Recipe
    from residua.runs.run import Run
    from residua.training.loop import resume, train

__all__ = [
    "Classifier",
    "Recipe",
    "Run",
    "UnreadableImage",
    "UserError",
    "__version__",
    "evaluate",
    "fit",
    "load",
    "load_predictor",
    "resolve",
    "resume",
    "train",
]

_MODULES = {
    "Classifier": "inference.classifier",
    "Recipe": "recipes.recipe",
    "Run": "runs.run",
    "UnreadableImage": "inference.images",
    "UserError": "errors",
    "evaluate": "inference.classifier",
    "fit": "integrations.observers",
    "load": "inference.classifier",
    "load_predictor": "inference.classifier",
    "resolve": "recipes.loading",
    "resume": "training.loop",
    "train": "training.loop",
}


def __getattr__(name: str) -> "Any":
    """Import on first use, so that `residua --help` does not wait for torch."""
    from importlib import import_module  # noqa: PLC0415

    if name == "__version__":
        return import_module("importlib.metadata").version("residua")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
