"""Does a trained network help with 200 pictures of 5 new classes? Fine-tuning against no weights.

    python benchmarks/fine_tuning.py records/DATE-fine-tuning --work /tmp/fine-tuning
    python benchmarks/fine_tuning.py /tmp/quick --work /tmp/quick-work --quick

The pictures are those of CIFAR-100. Ten of its classes are drawn by lot and left out; `pocket` is
trained on the other 90. Of the ten, five are for tuning and five for the test:

1. On the tuning classes, both ways (from the trained weights, and from random ones) are trained
   with every setting of the same grid of lengths and learning rates; from trained weights also with
   a lower rate for the body.
2. On the test classes, each way is trained with the setting that was best for it there.

Each training has 40 pictures of each class, drawn by its seed, and is evaluated once, after its
last epoch, on the 500 test images of its classes. There are three seeds. The classes are new to the
network, but relatives of them (other trees, other fish) are among the 90.

Finished runs in --work are not repeated, so an interrupted benchmark can be started again. The
table is printed, and written with every figure to README.md and results.json.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from residua import Run, fit, resolve
from residua.data import Cifar100, Split, Splits
from residua.devices import select_device
from residua.recipes.recipe import Recipe
from residua.recipes.stretching import stretched
from residua.runs.environment import collect_environment

NEW_CLASSES = 10
"""Classes that the network is not trained on: half for tuning, half for the test."""
PICTURES = 40
"""Training pictures of each class."""
SEEDS = (0, 1, 2)
WAYS = ("random", "trained")


@dataclass(frozen=True)
class Setting:
    """What is tuned for each way."""

    epochs: int
    lr_factor: float
    """Of all learning rates of `pocket`."""
    body_lr_scale: float = 1.0
    """From trained weights only."""


@dataclass(frozen=True)
class Plan:
    """How long everything is trained."""

    pretraining: tuple[str, ...]
    """Overrides of `pocket`."""
    epochs: tuple[int, ...]
    lr_factors: tuple[float, ...]
    body_lr_scales: tuple[float, ...]
    seeds: tuple[int, ...]

    def settings(self, way: str) -> Iterator[Setting]:
        """The grid of a way."""
        scales = self.body_lr_scales if way == "trained" else (1.0,)
        for values in product(self.epochs, self.lr_factors, scales):
            yield Setting(*values)


WHOLE = Plan((), (20, 60, 180), (0.1, 0.3, 1.0), (0.1, 1.0), SEEDS)
QUICK = Plan(("--data.limit", "1500", "--epochs", "1"), (2,), (0.3,), (0.1, 1.0), SEEDS[:1])


def write_pictures(split: Split, classes: Mapping[int, str], limit: int | None, seed: int) -> None:
    """Write the images of some classes as PNG files.

    Args:
        split: the images.
        classes: the folder of each class.
        limit: how many of each class, drawn by lot; None: all.
        seed: of the draw.
    """
    labels = split.labels.numpy()
    for label, folder in classes.items():
        indices = np.flatnonzero(labels == label)
        if limit is not None:
            indices = np.random.default_rng([seed, label]).permutation(indices)[:limit]
        Path(folder).mkdir(parents=True, exist_ok=True)
        for index in indices.tolist():
            pixels = split.images[index].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(Path(folder) / f"{index:05d}.png")


def picture_folder(
    path: Path, splits: Splits, classes: list[int], limit: int | None, seed: int = 0
) -> str:
    """The folder with train/ and test/ of some classes; it is written where it is missing."""
    done = path / "complete"
    if not done.exists():
        for name, split, most in (("train", splits.train, limit), ("test", splits.test, None)):
            folders = {label: str(path / name / split.classes[label]) for label in classes}
            write_pictures(split, folders, most, seed)
        done.touch()
    return str(path)


def trained(recipe: Recipe, path: Path) -> Run:
    """The finished run of a recipe; it is trained where it is missing."""
    if not (path / "result.json").is_file():
        fit(recipe, path)
    return Run.open(path)


def task_recipe(folder: str, setting: Setting, source: Path | None, seed: int) -> Recipe:
    """`pocket` for a few pictures of 32 x 32, evaluated once, without test-time augmentation."""
    words = ["--data.kind", "folder", "--data.path", folder, "--data.size", "32"]
    words += ["--image-size", "null", "--batch-size", "50", "--tta", "none", "--seed", str(seed)]
    recipe = stretched(resolve("pocket", words), setting.epochs)
    scaled = {
        path: setting.lr_factor * start
        for path, start in (("optimizer.lr.start", 0.24), ("optimizer.aux.lr.start", 0.1))
    }
    init: dict[str, Any] = {}
    if source is not None:
        init = {"init": {"source": str(source), "body_lr_scale": setting.body_lr_scale}}
    return recipe.replace(**scaled, **init, evaluate_every=setting.epochs)


class Benchmark:
    """The trainings of one plan."""

    def __init__(self, plan: Plan, work: Path, root: Path | None) -> None:
        self.plan, self.work = plan, work
        self.splits = Cifar100(root=root).load(seed=0)
        order = np.random.default_rng(0).permutation(len(self.splits.train.classes)).tolist()
        self.new, self.known = order[:NEW_CLASSES], sorted(order[NEW_CLASSES:])
        half = NEW_CLASSES // 2
        self.tasks = {"tuning": sorted(self.new[:half]), "test": sorted(self.new[half:])}

    def source(self) -> Run:
        """`pocket`, trained on the classes that are not new."""
        folder = picture_folder(self.work / "known", self.splits, self.known, None)
        words = ["--data.kind", "folder", "--data.path", folder, "--data.size", "32"]
        return trained(resolve("pocket", [*words, *self.plan.pretraining]), self.work / "source")

    def accuracies(self, task: str, way: str, setting: Setting) -> list[float]:
        """The test accuracy of each seed, in percent."""
        source, found = self.source().path if way == "trained" else None, []
        for seed in self.plan.seeds:
            folder = picture_folder(
                self.work / f"{task}-{seed}", self.splits, self.tasks[task], PICTURES, seed
            )
            name = "-".join(map(str, (task, way, *asdict(setting).values(), seed)))
            run = trained(task_recipe(folder, setting, source, seed), self.work / "runs" / name)
            assert run.result is not None
            assert run.result.last.test_accuracy is not None
            found.append(run.result.last.test_accuracy)
            print(f"{name}: {found[-1]:.1f} %", flush=True)
        return found

    def measure(self) -> dict[str, Any]:
        """Tune both ways, and test each with its best setting."""
        source = self.source().result
        assert source is not None
        names = self.splits.train.classes
        figures: dict[str, Any] = {
            "source": {"classes": len(self.known), "accuracy": source.last.test_accuracy},
            "classes": {task: [names[i] for i in labels] for task, labels in self.tasks.items()},
            "environment": collect_environment(select_device("auto"), 0).model_dump(mode="json"),
            "tuning": [],
            "test": [],
        }
        for way in WAYS:
            tuned = [(self.accuracies("tuning", way, s), s) for s in self.plan.settings(way)]
            figures["tuning"] += [
                {"way": way, **asdict(setting), "accuracies": accuracies}
                for accuracies, setting in tuned
            ]
            _, best = max(tuned, key=lambda pair: statistics.mean(pair[0]))
            accuracies = self.accuracies("test", way, best)
            figures["test"].append({"way": way, **asdict(best), "accuracies": accuracies})
        return figures


def table(figures: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| task | weights | epochs | rates x | body's rate x | accuracy, % | each seed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for task in ("test", "tuning"):
        for row in figures[task]:
            accuracies = row["accuracies"]
            spread = f" ± {statistics.stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
            values = (task, row["way"], row["epochs"], row["lr_factor"], row["body_lr_scale"])
            each = ", ".join(f"{accuracy:.1f}" for accuracy in accuracies)
            cells = (*map(str, values), f"{statistics.mean(accuracies):.1f}{spread}", each)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(figures: Mapping[str, Any]) -> str:
    """README.md: what was done, and the table."""
    source, classes = figures["source"], figures["classes"]
    return (
        "# Fine-tuning with 200 pictures of 5 new classes\n\n"
        f"`python benchmarks/fine_tuning.py`: `pocket`, trained on {source['classes']} classes of "
        f"CIFAR-100 ({source['accuracy']:.2f} % on their test images), and trained on 40 pictures "
        f"of each of five others: from its weights (trained), and from none (random). Settings "
        f"were chosen for each way on other new classes ({', '.join(classes['tuning'])}); the test "
        f"is on {', '.join(classes['test'])}, 500 test images, evaluated once after the last "
        "epoch. Mean ± sample standard deviation over seeds, which also draw the pictures.\n\n"
        f"{table(figures)}\n"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("output", type=Path, help="where README.md and results.json are written")
    parser.add_argument("--work", type=Path, required=True, help="for pictures and runs")
    parser.add_argument("--root", type=Path, help="the folder of CIFAR-100")
    parser.add_argument("--quick", action="store_true", help="a test of this program")
    options = parser.parse_args()
    plan = QUICK if options.quick else WHOLE
    figures = Benchmark(plan, options.work, options.root).measure()
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(figures, indent=1) + "\n")
    (options.output / "README.md").write_text(report(figures))
    print(table(figures))


if __name__ == "__main__":
    main()
