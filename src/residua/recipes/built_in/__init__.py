"""Built-in recipes, one file each; its docstring states command, cost and expected result."""

import pkgutil
from importlib import import_module

from residua.recipes.recipe import Recipe


def names() -> list[str]:
    """The names of the built-in recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def built_in(name: str) -> Recipe:
    """The built-in recipe of this name.

    Raises:
        KeyError: there is no such recipe.
    """
    if name not in names():
        raise KeyError(name)
    recipe: Recipe = import_module(f"{__name__}.{name}").recipe
    return recipe


def description(name: str) -> str:
    """The docstring of a built-in recipe's file."""
    return (import_module(f"{__name__}.{name}").__doc__ or "").strip()
