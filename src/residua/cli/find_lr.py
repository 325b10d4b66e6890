"""`residua find-rate`. Nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]


def find_lr(
    recipe: str,
    /,
    *overrides: Overrides,
    start: float = 1e-5,
    end: float = 10.0,
    steps: int = 100,
    picture: Path = Path("rates.png"),
) -> None:
    """Search for a learning rate: train some steps while it rises, and draw the loss.

    Parameters
    ----------
    recipe
        The name of a built-in recipe, or a file; overrides as for `train`.
    start
        The first rate.
    end
        The last rate; the search ends before it where the loss diverges.
    steps
        Steps to take.
    picture
        Where to draw the loss against the rate: a .png or .svg file.
    """
    from residua.recipes.loading import resolve
    from residua.training.lr_finder import checked, draw
    from residua.training.lr_finder import find_lr as search

    checked(picture)
    curve = search(resolve(recipe, overrides), start, end, steps)
    draw(curve, picture)
    first, last = curve.rates[0], curve.rates[-1]
    ended = "then the loss diverged" if curve.diverged else "without diverging"
    print(f"{len(curve.rates)} steps, from {first:.2g} to {last:.2g}, {ended}")
    print(f"suggested rate, a tenth of that with the least loss: {curve.suggestion:.2g}")
    print(picture)
