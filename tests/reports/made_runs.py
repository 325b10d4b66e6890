"""Runs made without training, with tiny artifacts."""

import torch

from residua.data import Shapes100
from residua.models import Architecture, ConvStem
from residua.recipes.recipe import Recipe
from residua.reports.run_data import RunData
from residua.runs import artifacts
from residua.runs.artifacts import Predictions, Samples
from residua.runs.records import EpochRecord, FinalFigures, Result
from residua.runs.run import Run

RECIPE = Recipe(
    name="tiny",
    data=Shapes100(limit=8),
    architecture=Architecture(stem=ConvStem(width=4), depths=(1, 1), widths=(4, 8)),
    epochs=8,
    target_accuracy=40,
)


def records(count, split="test", every=1, **changes):
    """A log whose accuracy is highest in the last epoch but one, and reaches 40 % in epoch 5."""
    log = []
    for epoch in range(1, count + 1):
        fields = {
            "epoch": epoch, "step": 4 * epoch, "steps": 4, "train_loss": 4.0 / epoch,
            "last_loss": 3.0 / epoch, "train_accuracy": min(100.0, 10.0 * epoch), "lr": 0.1 / epoch,
            "grad_norm": 1.0, "grad_norms": {"stem": 1e-4, "stage1": 0.1, "head": 1.0},
            "seconds": 2.0, "images_per_second": 1500.0, "memory_mib": 100.0,
            "target_reached": epoch == 5,
        }  # fmt: skip
        if epoch % every == 0:
            accuracy = max(0.0, min(9.0, 99 / count) * epoch - (12 if epoch == count else 0))
            metrics = {"loss": 4.5 / epoch, "accuracy": accuracy, "top5": min(100, accuracy + 20)}
            fields |= {f"{split}_{name}": float(value) for name, value in metrics.items()}
            fields |= {f"{split}_images": 100, "evaluation_seconds": 0.5}
        log.append(EpochRecord(**(fields | changes)))
    return log


def run_data(log, **recipe):
    """The data of a run that is in no directory."""
    return RunData(None, RECIPE.replace(**recipe), tuple(log))


def evaluated(accuracies, **changes):
    """The data of a run with these test accuracies, one an epoch."""
    log = records(len(accuracies), train_accuracy=50.0, lr=0.1, **changes)
    return run_data(
        record.model_copy(update={"test_accuracy": accuracy, "test_images": 10_000})
        for record, accuracy in zip(log, accuracies, strict=True)
    )


def make_run(path, recipe=RECIPE, log=()):
    run = Run.create(path)
    run.write_recipe(recipe)
    for record in log:
        run.append_record(record)
    return run


def save_samples(run, classes, count=3, side=8):
    images = torch.arange(count * 3 * side**2).reshape(count, 3, side, side).byte()
    labels = torch.arange(count) % len(classes)
    artifacts.save_samples(run, Samples(images, images.flip(3), labels, tuple(classes)))


def save_predictions(run, classes, per_class=4, side=8):
    """Correct, except for one image of each class, which is taken for the next class."""
    labels = torch.arange(len(classes)).repeat_interleave(per_class)
    wrong = torch.arange(0, len(labels), per_class)
    best = labels.clone()
    best[wrong] = (labels[wrong] + 1) % len(classes)
    mistakes = wrong[:3]
    images = torch.arange(len(mistakes) * 3 * side**2).reshape(-1, 3, side, side).byte()
    confidence = torch.linspace(0.99, 0.9, len(mistakes))
    predictions = Predictions(labels, labels, best, mistakes, confidence, images, tuple(classes))
    artifacts.save_predictions(run, predictions)


def finish(run, last=60.12, best=63.45, split="test", **changes):
    """Write the result of a run, with these test accuracies."""
    best_epoch = RunData.read(run).best.epoch

    def figures(epoch, accuracy):
        top5 = min(100.0, accuracy + 20)
        return FinalFigures(epoch=epoch, test_loss=1.0, test_accuracy=accuracy, test_top5=top5)

    result = Result(
        epochs=len(run.log),
        epochs_planned=run.recipe.epochs,
        selection_split=split,
        last=figures(run.log[-1].epoch, last),
        best=figures(best_epoch, best),
        **changes,
    )
    run.write_json("result.json", result)
    return run
