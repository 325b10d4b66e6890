"""What keeps a run from being a repetition of a published one."""

from residua.recipes import built_in as recipes
from residua.recipes.recipe import Recipe
from residua.reports.history import History
from residua.reports.published import Reference


def cautions(recipe: Recipe, history: History, reference: Reference) -> list[str]:
    """What keeps this run from being a repetition of the published one."""
    said = []
    if not same_images(recipe):
        said.append(
            f"This run's images are not the whole of CIFAR-100 (data: {recipe.data.kind}"
            f"{f', limited to {recipe.data.limit}' if recipe.data.limit else ''}): "
            "its figures cannot be held against the published ones."
        )
    if history.monitored == "holdout":
        said.append(
            "This run's accuracies of single epochs are of its holdout, and it was trained on "
            "fewer images; the published ones are of the test set."
        )
    if recipe.epochs != reference.system.epochs:
        said.append(
            f"This run is planned for {recipe.epochs} epochs, the published one took "
            f"{reference.system.epochs}: at the same epoch, schedules stand at other places."
        )
    meant = reference.name if reference.name in recipes.names() else reference.system.name
    if recipe.name == meant and not _is_built_in(recipe, meant):
        said.append("This run's recipe differs from the built-in one of its name: see its command.")
    elif recipe.name != meant:
        said.append(f"This run's recipe is {recipe.name}, not {meant}: another system.")
    if recipe.tta != "none":
        said.append(
            f"This run's evaluations average {recipe.tta} views; the published ones do not."
        )
    return said


def same_images(recipe: Recipe) -> bool:
    """Whether a recipe's images are the whole of CIFAR-100, as those of all documents are."""
    return recipe.data.kind == "cifar100" and recipe.data.limit is None


def _is_built_in(recipe: Recipe, name: str) -> bool:
    changes = {"seed": recipe.seed, "data": recipe.data, "device": recipe.device}
    return recipes.built_in(name).model_copy(update=changes) == recipe
