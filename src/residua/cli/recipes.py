"""`residua recipes` and `residua summary`."""

from typing import Annotated

from cyclopts import Parameter

from residua.cli.app import Overrides, app


@app.command
def recipes(name: str | None = None, /) -> None:
    """List the built-in recipes, or show one with all its fields.

    Parameters
    ----------
    name
        The recipe to show, as YAML that `residua train FILE` takes.
    """
    import yaml

    from residua.recipes import built_in
    from residua.recipes.loading import resolve

    names = built_in.names()
    if name is None:
        width = max(map(len, names))
        for each in names:
            print(f"{each:{width}}  {built_in.description(each).splitlines()[0]}")
        return
    recipe = resolve(name)
    if name in names:
        lines = built_in.description(name).splitlines()
        print("".join(f"# {line}".rstrip() + "\n" for line in lines))
    print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), end="")


@app.command
def summary(
    recipe: str,
    /,
    *overrides: Overrides,
    time: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Print a recipe's network: layers, parameters, memory, arithmetic.

    Parameters
    ----------
    recipe
        The name of a built-in recipe, or a file; overrides as for `train`.
    time
        Also run some training steps on the recipe's data, and print images/s, peak memory and the
        estimated time of the whole training on this machine.
    """
    from residua.cli.console import show_estimate, show_summary
    from residua.recipes.loading import resolve

    resolved = resolve(recipe, overrides)
    show_summary(resolved)
    if time:
        from residua.training.timing import estimate_training

        show_estimate(estimate_training(resolved))
