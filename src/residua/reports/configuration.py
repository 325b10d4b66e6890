"""A recipe as tables that people read, and as the command that repeats it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from residua.errors import UserError
from residua.recipes import built_in as recipes
from residua.recipes.loading import parse_overrides, resolve
from residua.recipes.recipe import Recipe
from residua.reports.words import setting

SECTIONS = {
    "Data": ("data", "normalization"),
    "Augmentation": ("augmentation", "image_size"),
    "Network": ("architecture",),
    "Optimisation": (
        "optimizer",
        "loss",
        "sharpness",
        "average",
        "max_grad_norm",
        "gradient_accumulation",
        "on_divergence",
    ),
    "Schedule": ("optimizer.lr", "epochs", "early_stopping", "evaluate_every", "views", "target"),
}
"""The fields of each section; all others come under Training."""
UNPACKED = ("data", "architecture", "optimizer")
"""Fields whose own fields get a row each."""


def sections(recipe: Recipe) -> dict[str, list[tuple[str, str]]]:
    """Rows of field and value, by section."""
    places = {field: title for title, fields in SECTIONS.items() for field in fields}
    found: dict[str, list[tuple[str, str]]] = {title: [] for title in (*SECTIONS, "Training")}
    for path, name, value in _rows(recipe.model_dump(mode="json", exclude={"name"})):
        title = places.get(path) or places.get(path.partition(".")[0], "Training")
        found[title].append((name, setting(value)))
    return found


def _rows(tree: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Path, shown name and value."""
    for field, value in tree.items():
        if field in UNPACKED:
            yield from ((f"{field}.{key}", f"{field}.{key}", value[key]) for key in value)
        elif field == "augmentation" and value:
            for each in value:
                yield field, each["kind"], {key: each[key] for key in each if key != "kind"}
        else:
            yield field, field, value


def command(recipe: Recipe) -> str:
    """The command that trains this recipe again.

    A built-in recipe is told by its name and what was overridden, if that says it all; any other
    one by the run's own recipe.json.
    """
    if recipe.name in recipes.names():
        base = recipes.built_in(recipe.name).model_dump(mode="json")
        words = list(_overrides(base, recipe.model_dump(mode="json"), ""))
        try:
            if resolve(recipe.name, words) == recipe:
                return shlex.join(["residua", "train", recipe.name, *words])
        except UserError:
            pass
    return "residua train recipe.json"


def _overrides(base: Any, tree: Any, path: str) -> Iterator[str]:
    trees = isinstance(base, Mapping) and isinstance(tree, Mapping)
    if trees and base.get("kind") == tree.get("kind"):
        for key, value in tree.items():
            yield from _overrides(base.get(key), value, f"{path}.{key}" if path else key)
    elif base != tree:
        yield from (f"--{path}", _word(tree))


def _word(tree: Any) -> str:
    """A value as typed: text without its quotes, where it is read as the same text again."""
    if isinstance(tree, str) and parse_overrides([f"--x={tree}"]) == [("x", tree)]:
        return tree
    return json.dumps(tree)


def flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Rows of dotted name and value; a list of words as a command line."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{path}{key}.")
        elif isinstance(value, list):
            yield path + key, shlex.join(str(each) for each in value)
        else:
            yield path + key, setting(value)
