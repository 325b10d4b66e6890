"""A recipe as tables, and as the command that repeats it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from residua.errors import UserError
from residua.recipes import built_in as recipes
from residua.recipes.loading import parse_overrides, resolve
from residua.recipes.recipe import Recipe
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import setting
from residua.reports.kit.tables import Table

GROUPS = {
    "Data": ("data", "normalization"),
    "Augmentation": ("augmentation", "image_size"),
    "Network": ("architecture",),
    "Optimisation": (
        "optimizer",
        "loss",
        "sam",
        "weight_average",
        "max_grad_norm",
        "gradient_accumulation",
        "on_divergence",
    ),
    "Schedule": (
        "optimizer.lr",
        "epochs",
        "early_stopping",
        "evaluate_every",
        "tta",
        "target_accuracy",
    ),
}
"""The fields in each group; all others are in the group Training."""
NESTED_FIELDS = ("data", "architecture", "optimizer")
"""Fields whose own fields get a row each."""
DEFAULTS = {"normalization": "statistics of the training set"}
"""What a field means where the recipe does not set it."""


def configuration_section(recipe: Recipe) -> doc.Section:
    """The recipe: its command, its fields, and recipe.json."""
    command = train_command(recipe)
    blocks: list[doc.Block] = [doc.Code(command)]
    if command.endswith("recipe.json"):
        blocks.append(doc.Caption("recipe.json is the file in the directory of the run."))
    recipe_json = json.dumps(recipe.model_dump(mode="json"), indent=2)
    details = doc.Details("recipe.json", [doc.Code(recipe_json, "json")])
    return doc.Section("Configuration", [*blocks, settings(recipe), details])


def settings(recipe: Recipe) -> doc.Columns:
    """The fields of a recipe and their values, in groups."""
    group_of = {field: title for title, fields in GROUPS.items() for field in fields}
    groups: dict[str, list[tuple[str, str]]] = {title: [] for title in (*GROUPS, "Training")}
    for path, name, value in _rows(recipe.model_dump(mode="json", exclude={"name"})):
        title = group_of.get(path) or group_of.get(path.partition(".")[0], "Training")
        text = DEFAULTS.get(path) if value is None else None
        groups[title].append((name, text or setting(value)))
    return doc.Columns([[Table((title, ""), rows, 2)] for title, rows in groups.items()])


def _rows(tree: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Dotted path, displayed name and value of each row."""
    for field, value in tree.items():
        if field in NESTED_FIELDS:
            yield from ((f"{field}.{key}", f"{field}.{key}", value[key]) for key in value)
        elif field == "augmentation" and value:
            for item in value:
                yield field, item["kind"], {key: item[key] for key in item if key != "kind"}
        else:
            yield field, field, value


def train_command(recipe: Recipe) -> str:
    """The command that trains this recipe again.

    It names a built-in recipe with overrides where that gives the same recipe; otherwise the run's
    recipe.json.
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
    both_mappings = isinstance(base, Mapping) and isinstance(tree, Mapping)
    if both_mappings and base.get("kind") == tree.get("kind"):
        for key, value in tree.items():
            yield from _overrides(base.get(key), value, f"{path}.{key}" if path else key)
    elif base != tree:
        yield from (f"--{path}", _word(tree))


def _word(value: Any) -> str:
    """A value as typed: a string without quotes, where it is parsed as the same string."""
    if isinstance(value, str) and parse_overrides([f"--x={value}"]) == [("x", value)]:
        return value
    return json.dumps(value)
