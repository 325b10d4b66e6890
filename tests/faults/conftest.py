"""Fixtures of the fault tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from residua.recipes.recipe import Recipe
from residua.training.loop import fit


@pytest.fixture(scope="session")
def complete_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Path]:
    """Train by a recipe without any fault, once for all tests, and return the run's directory."""
    runs: dict[str, Path] = {}

    def train_once(recipe: Recipe) -> Path:
        key = recipe.model_dump_json()
        if key not in runs:
            runs[key] = fit(recipe, tmp_path_factory.mktemp("complete") / "run").path
        return runs[key]

    return train_once
