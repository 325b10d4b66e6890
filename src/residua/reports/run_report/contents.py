"""Everything that the report and the training log show, read and drawn once."""

from dataclasses import dataclass, field

from residua.reports.kit.images import Animation, ImageFile
from residua.reports.run_data import RunData
from residua.reports.run_report.animation import training_animation
from residua.reports.run_report.curves import training_charts
from residua.reports.run_report.network import Structure, structure, training_cost
from residua.runs.artifacts import (
    Predictions,
    Samples,
    load_filters,
    load_predictions,
    load_samples,
)
from residua.runs.evaluations import (
    CorruptionRecord,
    EvaluationRecord,
    load_corruptions,
    load_evaluations,
)
from residua.runs.run import Run


@dataclass(frozen=True)
class Contents:
    """A run with its artifacts, charts and network; None where the run does not have it yet."""

    run: RunData
    samples: Samples | None
    predictions: Predictions | None
    structure: Structure | None
    flops: int | None
    """Floating-point operations of the training so far."""
    charts: list[ImageFile]
    animation: Animation | None
    """Of finished runs."""
    evaluations: list[EvaluationRecord] = field(default_factory=list)
    """What `residua evaluate` stored."""
    corruptions: CorruptionRecord | None = None

    @classmethod
    def gather(cls, run: Run) -> "Contents":
        """Read a run, finished or not.

        Raises:
            UserError: files of the run are damaged.
        """
        data, samples, predictions = RunData.read(run), load_samples(run), load_predictions(run)
        network, flops = None, None
        if (shown := samples or predictions) is not None:
            images = shown.originals if isinstance(shown, Samples) else shown.images
            classes, channels, size = len(shown.classes), images.shape[1], images.shape[-1]
            network = structure(data.recipe.architecture, classes, size, channels)
            flops = training_cost(data, classes, size, channels)
        animation = training_animation(data, load_filters(run)) if data.result else None
        return cls(
            run=data,
            samples=samples if samples and len(samples.labels) else None,
            predictions=predictions if predictions and len(predictions.labels) else None,
            structure=network,
            flops=flops,
            charts=training_charts(data),
            animation=animation,
            evaluations=load_evaluations(run),
            corruptions=load_corruptions(run),
        )
