"""`residua find-lr`."""

from pathlib import Path

from residua.cli.app import Overrides, WholeNumber, app
from residua.cli.output import printable


@app.command
def find_lr(
    recipe: str,
    /,
    *overrides: Overrides,
    start: float = 1e-5,
    end: float = 10.0,
    steps: WholeNumber = 100,
    plot: Path = Path("find-lr.png"),
) -> None:
    """Search for a learning rate: train some steps while it rises, and plot the loss.

    Parameters
    ----------
    recipe
        The name of a built-in recipe, or a file; overrides as for `train`.
    start
        The first learning rate.
    end
        The last learning rate; the search ends earlier where the loss diverges.
    steps
        The number of training steps.
    plot
        The .png or .svg file to write: the loss against the learning rate.
    """
    from residua.recipes.loading import resolve
    from residua.training import lr_finder

    lr_finder.check_plot_path(plot)
    curve = lr_finder.find_lr(resolve(recipe, overrides), start, end, steps)
    lr_finder.save_plot(curve, plot)
    first, last = curve.lrs[0], curve.lrs[-1]
    end_text = "then the loss diverged" if curve.diverged else "the loss did not diverge"
    print(f"{len(curve.lrs)} steps, learning rate from {first:.2g} to {last:.2g}; {end_text}")
    print(f"suggested learning rate (a tenth of that with the least loss): {curve.suggestion:.2g}")
    print(printable(str(plot)))
