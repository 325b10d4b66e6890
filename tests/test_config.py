"""Replacing fields of frozen values, with validation."""

import pytest
from pydantic import ValidationError

from residua.augment import Crop, Flip
from residua.optim import SGD, AdamW
from residua.recipes.recipe import Recipe
from residua.schedules import Cosine

RECIPE = Recipe(augmentation=(Crop(padding=4), Flip()))


def test_replace_returns_a_changed_copy() -> None:
    changed = RECIPE.replace(epochs=3, optimizer=AdamW(lr=1e-3))
    assert (changed.epochs, changed.optimizer) == (3, AdamW(lr=1e-3))
    assert (RECIPE.epochs, RECIPE.optimizer) == (100, SGD())


def test_replace_reaches_nested_values_by_dotted_paths() -> None:
    changed = RECIPE.replace(
        **{"optimizer.lr": Cosine(start=0.2), "augmentation.0.padding": 2, "data.limit": 5}
    )
    assert changed.optimizer == SGD(lr=Cosine(start=0.2))
    assert changed.augmentation == (Crop(padding=2), Flip())
    assert changed.data.limit == 5
    assert changed.replace(**{"augmentation.1": Flip(p=0.1)}).augmentation[1] == Flip(p=0.1)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("epochs", 0),
        ("epoch", 3),
        ("optimizer.lr", -1),
        ("optimizer.rate", 0.1),
        ("optimizer.lr.start", 0.1),
        ("no.such", 1),
        ("augmentation.2.padding", 1),
        ("augmentation.x", 1),
        ("gradient_accumulation", 200),
    ],
)
def test_replace_refuses_what_a_recipe_refuses(path: str, value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        RECIPE.replace(**{path: value})


@pytest.mark.parametrize(
    ("path", "value"),
    [("epochs", True), ("optimizer.lr", False), ("architecture.depths", (True, 2, 2, 2))],
)
def test_boolean_is_no_number(path: str, value: object) -> None:
    """Neither in a copy, nor in a constructor, nor in a tuple."""
    with pytest.raises(ValidationError, match="valid number"):
        RECIPE.replace(**{path: value})
    with pytest.raises(ValidationError, match="valid number"):
        SGD(lr=True)
    changed = RECIPE.replace(deterministic=True, compile=True, **{"loss.label_smoothing": 0})
    assert (changed.deterministic, changed.compile) == (True, True)


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError):
        RECIPE.epochs = 3  # type: ignore[misc]
