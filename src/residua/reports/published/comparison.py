"""A run compared with a published one: figures, curves, and whether it is ahead."""

from collections.abc import Sequence

from residua.errors import UserError
from residua.recipes import built_in as recipes
from residua.recipes.loading import suggestions
from residua.recipes.recipe import Recipe
from residua.reports import published
from residua.reports.kit import document as doc
from residua.reports.kit.charts import Series, line_chart
from residua.reports.kit.formatting import MISSING, count, loss, percent, points, scaled
from residua.reports.kit.images import ImageFile
from residua.reports.kit.tables import Table
from residua.reports.published import Curve, Point, Reference
from residua.reports.published.judgement import Verdict, judge
from residua.reports.run_data import EvaluatedEpoch, RunData
from residua.reports.run_report.curves import evaluation_series, train_series

MAX_OPEN_ROWS = 30
"""A table of more published epochs is folded away."""
HORIZON_FACTOR = 3
"""Published curves are drawn up to this multiple of the run's epochs."""
MIN_HORIZON = 10
TONES: dict[Verdict, doc.Tone] = {
    "ahead": "good",
    "within its seed spread": "neutral",
    "behind": "bad",
}


def find_reference(recipe: Recipe, name: str | None) -> Reference | None:
    """The published system of this name; without a name, the one that the recipe is named after.

    Raises:
        UserError: there is no published system of this name.
    """
    if name is None:
        return published.reference(recipe.name) if recipe.name in published.names() else None
    if name not in published.names():
        suggestion = suggestions(name, published.names())
        raise UserError(f"there is no published system {name!r}{suggestion}")
    return published.reference(name)


def published_section(
    run: RunData, reference: Reference, replicates: Sequence[RunData]
) -> doc.Section:
    """Compare a run, finished or not, with a reference.

    Args:
        run: the run.
        reference: what it is compared with.
        replicates: runs with the same recipe and other seeds.
    """
    blocks: list[doc.Block] = [_introduction(reference), _judgements(run, reference, replicates)]
    horizon = chart_horizon(run)
    charts = comparison_charts(run, reference, horizon)
    if charts:
        blocks += [doc.Figures(charts), doc.Caption(_charts_caption(reference, horizon))]
    blocks.append(_summary_table(run, reference))
    table = epochs_table(run, reference)
    if len(table.rows) > MAX_OPEN_ROWS:
        blocks.append(doc.Details(f"All {len(table.rows)} published epochs of this run", [table]))
    elif table.rows:
        blocks += [doc.Heading("Published epochs that this run evaluated"), table]
    remarks = [*reference.system.notes, *caveats(run, reference)]
    blocks += [doc.Heading("Caveats"), doc.Bullets(remarks, remarks=True)]
    return doc.Section(f"Compared with the published {reference.name}", blocks, "Published")


def _introduction(reference: Reference) -> str:
    system, curve = reference.system, reference.curve
    rounded = system.parameters % 100_000 == 0
    parameters = f"about {scaled(system.parameters)}" if rounded else count(system.parameters)
    note = f" ({system.parameters_note})" if system.parameters_note else ""
    log = (
        f"Its log, {curve.name}, has {len(curve.points)} epochs."
        if curve
        else "It has no log that could be drawn."
    )
    return f"{system.title}: {system.source}. {log} Parameters: {parameters}{note}."


def _judgements(run: RunData, reference: Reference, replicates: Sequence[RunData]) -> doc.Block:
    """The judgements, or why there are none."""
    if not uses_whole_cifar100(run.recipe):
        return "No judgement: the two were not trained on the same images."
    judgements = judge(run, reference, replicates)
    if judgements:
        return doc.Bullets(
            [
                doc.Text(
                    doc.Strong(f"{item.verdict.capitalize()}:", TONES[item.verdict]),
                    f" {item.text}",
                )
                for item in judgements
            ]
        )
    if reference.last is None:
        return "No judgement: the document gives a target but no result."
    return "No judgement: the run is not finished and evaluated no epoch of the published log."


def shared_epochs(run: RunData, reference: Reference) -> list[tuple[EvaluatedEpoch, Point]]:
    """The published epochs that the run evaluated."""
    own = {epoch.epoch: epoch for epoch in run.evaluated}
    curve = reference.curve.points if reference.curve else ()
    return [(own[point.epoch], point) for point in curve if point.epoch in own]


def epochs_table(run: RunData, reference: Reference) -> Table:
    """Accuracies and losses of both at the published epochs that the run evaluated."""
    pairs = shared_epochs(run, reference)
    rows = [
        (
            str(point.epoch),
            percent(epoch.accuracy),
            percent(point.test_accuracy),
            points(epoch.accuracy - point.test_accuracy),
            percent(epoch.record.train_accuracy),
            percent(point.train_accuracy),
            points(epoch.record.train_accuracy - point.train_accuracy),
            loss(epoch.record.train_loss),
            loss(point.train_loss),
        )
        for epoch, point in pairs
    ]
    columns = (
        "Epoch",
        f"{run.selection_split.capitalize()}, ours",
        "Test, theirs",
        "Difference",
        "Train, ours",
        "Train, theirs",
        "Difference",
        "Train loss, ours",
        "Train loss, theirs",
    )
    has_losses = any(point.train_loss is not None for _, point in pairs)
    shown = len(columns) if has_losses else len(columns) - 2
    return Table(columns[:shown], [row[:shown] for row in rows], text_columns=0)


def _summary_table(run: RunData, reference: Reference) -> Table:
    system, result, best = reference.system, run.result, run.best
    best_epoch = reference.curve.best.epoch if reference.curve else system.best_epoch
    target = run.recipe.target_accuracy
    minutes = (run.train_seconds + run.evaluation_seconds) / 60
    last = f"about {reference.last:g} %" if system.rounding else percent(reference.last)
    rows = [
        ("Test accuracy, last epoch", percent(result.last.test_accuracy if result else None), last),
        (
            "Test accuracy, best epoch",
            percent(result.best.test_accuracy if result else None),
            percent(reference.best),
        ),
        ("Best epoch", str(best.epoch) if best else MISSING, str(best_epoch or MISSING)),
        ("Epochs", f"{run.finished_epochs} of {run.recipe.epochs}", str(system.epochs)),
        (
            "Target",
            f"{target:g} %" if target else MISSING,
            f"{system.target:g} %" if system.target else MISSING,
        ),
        (
            "Time, training and evaluation",
            f"{minutes:.0f} min",
            f"{system.minutes:.0f} min" if system.minutes else MISSING,
        ),
    ]
    return Table(("", "This run", "Published"), rows)


def chart_horizon(run: RunData) -> int:
    """The last published epoch that charts show, so that the curves of a young run are visible."""
    return max(MIN_HORIZON, HORIZON_FACTOR * run.finished_epochs)


def comparison_charts(run: RunData, reference: Reference, horizon: int) -> list[ImageFile]:
    """Accuracy and loss of both."""
    curve, split = reference.curve, run.selection_split
    if curve is None:
        return []

    def series(metric: str) -> list[Series]:
        return [
            _published_series(curve, "train", metric, horizon),
            _published_series(curve, "test", metric, horizon),
            train_series(run, f"train_{metric}", "this run, train"),
            evaluation_series(run, metric, f"this run, {split}"),
        ]

    others = [
        _published_series(other, "test", "accuracy", horizon, dash="dotted", background=True)
        for other in reference.others
    ]
    accuracy = [*others, *series("accuracy")]
    return [
        *line_chart("published-accuracy.svg", "Accuracy in %", accuracy, legend="below"),
        *line_chart("published-loss.svg", "Loss", series("loss"), legend="below"),
    ]


def _published_series(
    curve: Curve,
    split: str,
    metric: str,
    horizon: int,
    dash: str = "dashed",
    background: bool = False,
) -> Series:
    values = [(point.epoch, getattr(point, f"{split}_{metric}")) for point in curve.points]
    shown = [(epoch, value) for epoch, value in values if value is not None and epoch <= horizon]
    opacity = 0.45 if background else 1.0
    label = f"{curve.name}, {split}"
    return Series(label, split, shown, dash=dash, opacity=opacity, background=background)


def _charts_caption(reference: Reference, horizon: int) -> str:
    others = "; dotted: another published run of the same system" if reference.others else ""
    last = reference.curve.last.epoch if reference.curve else 0
    cut = f" Published curves are shown up to epoch {horizon} of {last}." if last > horizon else ""
    return f"Solid: this run. Dashed: published{others}.{cut}"


def caveats(run: RunData, reference: Reference) -> list[str]:
    """Why this run is not an exact repetition of the published one."""
    recipe, system = run.recipe, reference.system
    texts = []
    if not uses_whole_cifar100(recipe):
        limit = f", limited to {recipe.data.limit}" if recipe.data.limit else ""
        texts.append(
            f"This run's images are not the whole of CIFAR-100 (data: {recipe.data.kind}{limit}): "
            "its figures cannot be compared with the published ones."
        )
    if run.selection_split == "holdout":
        texts.append(
            "This run's accuracies of single epochs are of its holdout set, and it was trained on "
            "fewer images; the published ones are of the test set."
        )
    if recipe.epochs != system.epochs:
        texts.append(
            f"This run is planned for {recipe.epochs} epochs, the published one took "
            f"{system.epochs}: at the same epoch their schedules differ."
        )
    name = reference.name if reference.name in recipes.names() else system.name
    if recipe.name != name:
        texts.append(f"This run's recipe is {recipe.name}, not {name}: another system.")
    elif not _is_built_in(recipe):
        texts.append(
            "This run's recipe differs from the built-in one of its name: see its command."
        )
    if recipe.tta != "none":
        texts.append(
            f"This run's evaluations average {recipe.tta} views; the published ones do not."
        )
    return texts


def uses_whole_cifar100(recipe: Recipe) -> bool:
    """Whether a recipe is trained on the whole of CIFAR-100, as all published systems are."""
    return recipe.data.kind == "cifar100" and recipe.data.limit is None


def _is_built_in(recipe: Recipe) -> bool:
    """Whether a recipe is the built-in one of its name, apart from seed, data and where it runs."""
    free = {"seed", "data", "device", "publish", "sync"}
    return recipes.built_in(recipe.name).model_dump(exclude=free) == recipe.model_dump(exclude=free)
