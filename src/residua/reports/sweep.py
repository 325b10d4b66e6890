"""The page of a sweep: its trials, what each field changes, and the best recipe."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from residua.errors import UserError
from residua.reports.kit import document as doc
from residua.reports.kit.charts import Series, chart_style, line_chart, svg
from residua.reports.kit.formatting import MISSING, mean_std, percent, setting
from residua.reports.kit.html import write_html
from residua.reports.kit.images import COLORS, ImageFile
from residua.reports.kit.markdown import write_markdown
from residua.reports.kit.tables import Table
from residua.runs.sweep import Range, Sweep, SweepDirectory, Trial

MAX_CURVES = 30
"""More trials than this are drawn without their worst ones."""


def trials_table(sweep: Sweep, trials: Sequence[Trial]) -> Table:
    """The trials, the best first."""
    rows = [
        (
            str(trial.number),
            *(setting(trial.values.get(path)) for path in sweep.space),
            trial.state,
            f"{trial.epochs} of {sweep.recipe.epochs * sweep.seeds}",
            mean_std(trial.accuracies, 2) if trial.accuracies else MISSING,
        )
        for trial in ranked(trials)
    ]
    columns = ("Trial", *sweep.space, "State", "Epochs", "Holdout accuracy, %")
    return Table(columns, rows, text_columns=2 + len(sweep.space))


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Complete trials by accuracy, then the others by accuracy."""
    return sorted(trials, key=lambda t: (t.state != "complete", -(t.accuracy or 0.0), t.number))


def write_sweep(directory: SweepDirectory, importances: Mapping[str, float]) -> Path:
    """Write best.yaml, sweep.md with its figures, and sweep.html, which needs no other file.

    Args:
        directory: of the sweep.
        importances: how much of the accuracy's variance each field explains; may be empty.

    Returns:
        The path of the HTML page.

    Raises:
        UserError: the files cannot be written, or files of a run are damaged.
    """
    sweep, trials = directory.sweep, directory.trials()
    directory.write_best()
    document, page = _document(sweep, trials, importances), directory.path / "sweep.html"
    try:
        write_markdown(document, directory.path / "sweep.md")
        write_html(document, page)
    except OSError as error:
        raise UserError(f"cannot write {directory.path}: {error.strerror}") from None
    return page


def _document(
    sweep: Sweep, trials: Sequence[Trial], importances: Mapping[str, float]
) -> doc.Document:
    complete = [trial for trial in trials if trial.state == "complete"]
    counts = [
        f"{sum(trial.state == state for trial in trials)} {state}"
        for state in ("complete", "pruned", "failed", "running")
        if any(trial.state == state for trial in trials)
    ]
    intro: list[doc.Block] = [f"{sweep.num_trials} trials: {', '.join(counts) or 'none began'}."]
    if complete:
        best = ranked(complete)[0]
        values = ", ".join(f"{path} {setting(value)}" for path, value in best.values.items())
        intro.append(
            doc.Text(
                doc.Strong(f"Trial {best.number} is the best: {percent(best.accuracy)}"),
                f" on the holdout, with {values}. best.yaml is its recipe.",
            )
        )
    charts = [*effect_charts(sweep, trials), *curve_chart(trials)]
    effects: list[doc.Block] = [doc.Figures(charts)]
    if importances:
        rows = [(path, f"{100 * share:.0f} %") for path, share in importances.items()]
        effects += [
            Table(("Field", "Share of the variance"), rows),
            doc.Caption(
                "By functional ANOVA, from the complete trials; with few of them it says little."
            ),
        ]
    seeds = f" Mean ± standard deviation over {sweep.seeds} seeds." if sweep.seeds > 1 else ""
    return doc.Document(
        title=f"Sweep of {sweep.recipe.name}",
        subtitle="Trials, selected by the holdout",
        intro=intro,
        sections=[
            doc.Section(
                "Trials",
                [
                    trials_table(sweep, trials),
                    doc.Caption(
                        "Accuracies of last epochs on the holdout, of pruned and running trials "
                        f"the last one so far.{seeds} The test set was not used."
                    ),
                ],
            ),
            doc.Section("Effect of each field", effects),
        ],
        footer="Written by residua from the files of the runs.",
    )


def effect_charts(sweep: Sweep, trials: Sequence[Trial]) -> list[ImageFile]:
    """The accuracy of each trial against each field's value, an SVG file for each field."""
    shown = [trial for trial in trials if trial.accuracy is not None]
    return [_effect_chart(path, sweep, shown) for path in sweep.space if shown]


def _effect_chart(path: str, sweep: Sweep, trials: Sequence[Trial]) -> ImageFile:
    space = sweep.space[path]
    with mpl.rc_context(chart_style()):
        figure = Figure(figsize=(4.8, 2.9), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(f"Holdout accuracy, %, by {path}")
        names = [] if isinstance(space, Range) else [setting(value) for value in space.values]
        for states, color, label in (
            (("complete",), "test", "complete"),
            (("pruned", "running", "failed"), "ink", "pruned or running"),
        ):
            points = [trial for trial in trials if trial.state in states]
            values = [trial.values[path] for trial in points]
            x = [names.index(setting(value)) if names else float(str(value)) for value in values]
            y = [trial.accuracy or 0.0 for trial in points]
            if points:
                axes.scatter(x, y, s=22, color=COLORS[color], label=label, alpha=0.8)
        if isinstance(space, Range) and space.log:
            axes.set_xscale("log")
        if names:
            axes.set_xticks(range(len(names)), names)
        axes.legend(loc="best")
        content = svg(figure)
    return ImageFile(f"effect-{path}.svg", f"Holdout accuracy of each trial by {path}", content)


def curve_chart(trials: Sequence[Trial]) -> list[ImageFile]:
    """The holdout accuracy of each trial's first run by epoch; the best one highlighted."""
    best = ranked(trials)[:1]
    series = [
        Series(
            label=f"trial {trial.number}" if trial in best else "",
            color="test" if trial in best else "ink",
            points=list(trial.curve.items()),
            opacity=1.0 if trial in best else 0.5,
            background=trial not in best,
        )
        for trial in ranked(trials)[:MAX_CURVES]
    ]
    return line_chart("trials.svg", "Holdout accuracy, %", series, legend="none")
