"""A recipe for another number of epochs, with all its schedules stretched to it."""

from collections.abc import Mapping
from typing import Any

from residua.recipes.loading import parse_recipe
from residua.recipes.recipe import Recipe

EPOCH_FIELDS: dict[str, tuple[str, ...]] = {
    "phases": ("boundaries",),
    "multi_step": ("milestones",),
    "warm_restarts": ("t_0",),
    "cosine": ("epochs",),
    "linear": ("epochs",),
    "exponential": ("epochs",),
}
"""The fields of each kind of schedule that are numbers of epochs."""


def stretched(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with this number of epochs; what it states in epochs keeps its share of them.

    Boundaries and lengths of schedules, the start of averages and of early stopping, and patience
    are scaled. Evaluations and checkpoints that are not due after every epoch keep their number.

    Raises:
        UserError: the recipe cannot have this number of epochs.
    """
    ratio = epochs / recipe.epochs
    if ratio == 1:
        return recipe
    tree = _stretched(recipe.model_dump(mode="json"), ratio)
    for field in ("evaluate_every", "save_every"):
        if tree[field] > 1:
            tree[field] = max(1, round(tree[field] * ratio))
    if recipe.early_stopping is not None:
        stopping = tree["early_stopping"]
        stopping["patience"] = max(1, round(stopping["patience"] * ratio))
        stopping["start_epoch"] = round(stopping["start_epoch"] * ratio)
    average = tree["weight_average"]
    if average is not None and "start_epoch" in average:
        average["start_epoch"] = min(epochs, max(1, round(average["start_epoch"] * ratio)))
    return parse_recipe(tree | {"epochs": epochs, "extensions": []})


def _stretched(tree: Any, ratio: float) -> Any:
    """A JSON tree with the schedules in it stretched."""
    if isinstance(tree, list):
        return [_stretched(each, ratio) for each in tree]
    if not isinstance(tree, Mapping):
        return tree
    fields = {name: _stretched(value, ratio) for name, value in tree.items()}
    kind = str(fields.get("kind"))
    if kind == "plateau":
        fields["patience"] = round(fields["patience"] * ratio)
    if fields.get("bias_epochs"):
        fields["bias_epochs"] = max(1, round(fields["bias_epochs"] * ratio))
    for name in EPOCH_FIELDS.get(kind, ()):
        value = fields[name]
        if isinstance(value, list):
            fields[name] = [each * ratio for each in value]
        elif value is not None:
            fields[name] = value * ratio
    return fields
