"""Runs made by hand, with tiny evidence."""

import json

import torch
from safetensors.torch import save_file

from residua.data import Shapes100
from residua.models import Architecture, ConvStem
from residua.recipes.recipe import Recipe
from residua.runs.run import Run

RECIPE = Recipe(
    name="tiny",
    data=Shapes100(limit=8),
    architecture=Architecture(stem=ConvStem(width=4), depths=(1, 1), widths=(4, 8)),
    epochs=8,
    target=40,
)


def records(count, split="test", every=1):
    """A log whose accuracy rises to its best in the last epoch but one."""
    found = []
    for epoch in range(1, count + 1):
        record = {
            "epoch": epoch,
            "step": 4 * epoch,
            "train_loss": 4.0 / epoch,
            "train_accuracy": 10.0 * epoch,
            "lr": 0.1 / epoch,
            "grad_norm": 1.0,
            "seconds": 2.0,
            "images_per_second": 1500.0,
            "memory_mib": 100.0,
        }
        if epoch % every == 0:
            accuracy = 9.0 * epoch if epoch < count else max(0.0, 9.0 * epoch - 12)
            record |= {
                f"{split}_loss": 4.5 / epoch,
                f"{split}_accuracy": accuracy,
                f"{split}_top5": min(100.0, accuracy + 20),
                "evaluation_seconds": 0.5,
            }
        found.append(record)
    return found


def make_run(path, recipe=RECIPE, log=()):
    run = Run.create(path)
    run.write_json("recipe.json", recipe.model_dump(mode="json"))
    for record in log:
        run.append(record)
    return run


def save_samples(run, classes, count=3, side=8):
    images = torch.arange(count * 3 * side**2).reshape(count, 3, side, side).byte()
    tensors = {
        "originals": images,
        "augmented": images.flip(3),
        "labels": torch.arange(count) % len(classes),
    }
    _save(run, "samples", tensors, classes)


def save_predictions(run, classes, per_class=4, side=8):
    """All right, but for one image of every class that is taken for the next class."""
    labels = torch.arange(len(classes)).repeat_interleave(per_class)
    wrong = torch.arange(0, len(labels), per_class)
    best = labels.clone()
    best[wrong] = (labels[wrong] + 1) % len(classes)
    mistakes = wrong[:3].clone()
    images = torch.arange(len(mistakes) * 3 * side**2).reshape(-1, 3, side, side).byte()
    tensors = {
        "labels": labels,
        "last": labels.clone(),
        "best": best,
        "mistakes": mistakes,
        "confidence": torch.linspace(0.99, 0.9, len(mistakes)),
        "images": images,
    }
    _save(run, "predictions", tensors, classes)


def _save(run, name, tensors, classes):
    path = run.artifacts / f"{name}.safetensors"
    save_file(
        {key: value.contiguous() for key, value in tensors.items()},
        path,
        {"classes": json.dumps(classes)},
    )


def finish(run, selected_on="test", views="single"):
    log = run.log
    key = f"{selected_on}_accuracy"
    best = max((record for record in log if key in record), key=lambda record: record[key])

    def figures(record, accuracy):
        return {
            "epoch": record["epoch"],
            "test_loss": 1.0,
            "test_accuracy": accuracy,
            "test_top5": accuracy + 20,
        }

    result = {
        "recipe": run.recipe.name,
        "seed": 0,
        "epochs": len(log),
        "epochs_planned": run.recipe.epochs,
        "selected_on": selected_on,
        "tta": views,
        "last": figures(log[-1], 60.12),
        "best": figures(best, 63.45),
        "target_accuracy": run.recipe.target_accuracy,
        "target_reached_in_epoch": 5,
        "train_seconds": 16.0,
        "evaluation_seconds": 4.0,
    }
    run.write_json("result.json", result)
