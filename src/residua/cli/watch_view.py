"""What `residua watch` shows of runs: a panel for each."""

import time
from collections.abc import Sequence
from itertools import pairwise

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from residua.cli.console import console
from residua.cli.output import printable
from residua.errors import UserError
from residua.runs.log_lines import format_duration
from residua.runs.records import EpochRecord
from residua.runs.run import Run

LEVELS = "▁▂▃▄▅▆▇█"
PANEL_WIDTH = 78
"""The least width of a panel beside another one."""
LABEL_WIDTH = 18
STYLES = {"finished": "green", "interrupted": "red", "stopped": "yellow"}


def follow(runs: Sequence[Run], every: float) -> None:
    """Show the runs until all of them have ended, updated every so many seconds."""
    with Live(view(runs, console.width), console=console, auto_refresh=False) as live:
        while any(run.state in ("training", "evaluating") for run in runs):
            time.sleep(every)
            live.update(view(runs, console.width), refresh=True)


def view(runs: Sequence[Run], width: int) -> RenderableType:
    """All runs, side by side where the terminal of this width has room."""
    beside = max(1, min(len(runs), width // PANEL_WIDTH))
    panel_width = min(width, max(40, width // beside))
    return Columns([_panel(run, panel_width) for run in runs], padding=0)


def _panel(run: Run, width: int) -> Panel:
    title = Text(printable(str(run.path)))
    title.truncate(width - 6, overflow="ellipsis")
    try:
        content: RenderableType = _content(run, width - 4)
    except UserError as error:
        content = Text(printable(str(error)), style="red")
    return Panel(content, title=title, width=width)


def _content(run: Run, width: int) -> Group:
    recipe, log, state, progress = run.recipe, run.log, run.state, run.progress
    steps = progress.epochs * progress.steps_per_epoch if progress else recipe.epochs
    taken = progress.step if progress else len(log)
    heading = Text(f"{printable(recipe.name)}, seed {recipe.seed}: ")
    heading.append(state, STYLES.get(state, "bold"))
    heading.append(f", {len(log)} of {recipe.epochs} epochs")
    rows: list[RenderableType] = [heading, ProgressBar(steps, taken, width=width)]
    if progress is not None:
        figures = f"step {progress.step:,} of {steps:,}"
        if progress.loss is not None and progress.accuracy is not None:
            figures += f", loss {progress.loss:.4f}, {progress.accuracy:.2f} %"
        rows.append(Text(figures))
        if state in ("training", "evaluating"):
            left = format_duration(progress.seconds_left)
            rows.append(Text(f"{progress.images_per_second:,.0f} images/s, {left} left"))
        else:
            rows.append(Text(f"last heard of {format_duration(progress.age)} ago"))
    if log:
        rows.append(_curves(log, width))
        rows += [Text(warning, style="yellow") for warning in _warnings(log)]
    return Group(*rows)


def _curves(log: Sequence[EpochRecord], width: int) -> Table:
    """A line for each figure: its name, its course over the epochs, its last value."""
    table = Table.grid(padding=(0, 1), pad_edge=False)
    table.add_column(width=LABEL_WIDTH, no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    evaluated = [record for record in log if record.evaluated_accuracy is not None]
    split = evaluated[-1].evaluated_split if evaluated else "test"
    curves = [
        ("training loss", [record.train_loss for record in log], "{:.4f}"),
        ("training accuracy", [record.train_accuracy for record in log], "{:.2f} %"),
        (f"{split} accuracy", [r.evaluated_accuracy or 0.0 for r in evaluated], "{:.2f} %"),
        ("learning rate", [record.lr for record in log], "{:.3g}"),
        ("gradient norm", [record.grad_norm for record in log], "{:.3g}"),
        ("images/s", [record.images_per_second for record in log], "{:,.0f}"),
    ]
    for name, values, form in curves:
        if values:
            line = sparkline(values, max(8, width - LABEL_WIDTH - 13))
            table.add_row(name, line, form.format(values[-1]))
    return table


def _warnings(log: Sequence[EpochRecord]) -> list[str]:
    """What to know of the last epoch."""
    last = log[-1]
    warnings = [printable(last.gradient_warning)] if last.gradient_warning else []
    if last.rollbacks:
        warnings.append(f"rolled back {last.rollbacks} times")
    return warnings


def sparkline(values: Sequence[float], width: int) -> str:
    """Values as a line of block characters between their minimum and maximum.

    Args:
        values: at least one.
        width: the most characters; where there are more values, each is a mean of several.
    """
    count = min(width, len(values))
    edges = [index * len(values) // count for index in range(count + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(LEVELS) - 1) / (high - low) if high > low else 0.0
    return "".join(LEVELS[round((mean - low) * scale)] for mean in means)
