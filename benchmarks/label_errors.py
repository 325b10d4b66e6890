"""Measure how well confident learning finds labels that were flipped on purpose.

    python benchmarks/label_errors.py RUN --output records/DATE-label-errors

A share of the run's test labels is flipped; the network has not been trained on the test set, so
its probabilities are out of sample. Each method's list is held against the flipped labels. Several
draws of the flips, of two kinds: to any other class, and to another class of the same superclass.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import residua
from residua.data import Split
from residua.inference.label_errors import (
    confident_classes,
    confident_joint,
    estimated_noise_rate,
    find_label_errors,
)
from residua.inference.mistakes import predict_split
from residua.reports.kit.tables import Table, markdown_table

SHARE = 0.05
DRAWS = 10
Method = Callable[[Tensor, Tensor], Tensor]
"""From probabilities (N, K) and labels (N,) to indices, the likeliest wrong label first."""


def misclassified(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Every image whose prediction is not its label."""
    return _ranked(probabilities, labels, probabilities.argmax(1) != labels)


def off_diagonal(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Every image whose confident class is not its label."""
    classes = confident_classes(probabilities, labels)
    return _ranked(probabilities, labels, (classes != labels) & (classes >= 0))


def prune_by_class(probabilities: Tensor, labels: Tensor) -> Tensor:
    """What `residua explain --mistakes` lists."""
    return find_label_errors(probabilities, labels).indices


def prune_by_noise_rate(probabilities: Tensor, labels: Tensor) -> Tensor:
    """For each label and class, as many images as the joint says, those of the largest margin."""
    counts = confident_joint(probabilities, labels).round().long().fill_diagonal_(0)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, row in enumerate(counts):
        members = (labels == label).nonzero()[:, 0]
        for other in row.nonzero()[:, 0].tolist():
            margin = probabilities[members, other] - probabilities[members, label]
            order = margin.argsort(descending=True, stable=True)
            chosen[members[order[: int(row[other])]]] = True
    return _ranked(probabilities, labels, chosen & (probabilities.argmax(1) != labels))


def both_prunings(probabilities: Tensor, labels: Tensor) -> Tensor:
    """What both prunings list."""
    chosen = torch.zeros(2, len(labels), dtype=torch.bool)
    chosen[0, prune_by_class(probabilities, labels)] = True
    chosen[1, prune_by_noise_rate(probabilities, labels)] = True
    return _ranked(probabilities, labels, chosen.all(0))


def _ranked(probabilities: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
    """The chosen images (N,) bool, those with the least probability of their label first."""
    own = probabilities.gather(1, labels[:, None])[:, 0]
    indices = chosen.nonzero()[:, 0]
    return indices[own[indices].argsort(stable=True)]


METHODS: dict[str, Method] = {
    "every misclassified image": misclassified,
    "off the diagonal of the joint": off_diagonal,
    "prune by class": prune_by_class,
    "prune by noise rate": prune_by_noise_rate,
    "both prunings": both_prunings,
}
"""Of the paper; each list is ranked by the probability of the label, the least first."""


def flip(split: Split, seed: int, within_superclass: bool) -> tuple[Tensor, Tensor]:
    """Labels of which 5 % are flipped, and a mask of those: (N,) int64 and bool."""
    generator = torch.Generator().manual_seed(seed)
    labels = split.labels.clone()
    flipped = torch.randperm(len(labels), generator=generator)[: round(SHARE * len(labels))]
    allowed = ~torch.eye(len(split.classes), dtype=torch.bool)
    if within_superclass:
        assert split.coarse_labels is not None
        coarse = torch.zeros(len(split.classes), dtype=torch.int64)
        coarse[labels] = split.coarse_labels
        allowed &= coarse[:, None] == coarse
    weights = allowed[labels[flipped]].float()
    labels[flipped] = torch.multinomial(weights, 1, generator=generator)[:, 0]
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[flipped] = True
    assert bool((labels != split.labels).eq(mask).all())
    return labels, mask


def figures(listed: Tensor, flipped: Tensor) -> dict[str, float]:
    """Precision and recall of a list, of its head, and its average precision, in percent."""
    hits = flipped[listed].double()
    total = int(flipped.sum())
    ranks = torch.arange(1, len(listed) + 1)
    return {
        "listed": len(listed),
        "precision": 100 * float(hits.mean()),
        "recall": 100 * float(hits.sum()) / total,
        "precision_of_first_100": 100 * float(hits[:100].mean()),
        f"precision_of_first_{total}": 100 * float(hits[:total].mean()),
        "average_precision": 100 * float((hits.cumsum(0) / ranks * hits).sum()) / total,
    }


def measure(probabilities: Tensor, split: Split) -> Iterator[dict[str, object]]:
    """One row for each kind of flips, draw and method."""
    kinds = {"any other class": False}
    if split.coarse_labels is not None:
        kinds["same superclass"] = True
    for kind, within in kinds.items():
        for seed in range(DRAWS):
            labels, flipped = flip(split, seed, within)
            rate = 100 * estimated_noise_rate(probabilities, labels)
            for name, method in METHODS.items():
                row = figures(method(probabilities, labels), flipped)
                yield {"flipped_to": kind, "seed": seed, "method": name, "rate": rate, **row}


def table(rows: list[dict[str, object]]) -> Table:
    """Mean and standard deviation over the draws."""
    names = [name for name in rows[0] if name not in ("flipped_to", "seed", "method")]
    keys = dict.fromkeys((row["flipped_to"], row["method"]) for row in rows)
    lines = []
    for key in keys:
        group = [row for row in rows if (row["flipped_to"], row["method"]) == key]
        values = [[float(str(row[name])) for row in group] for name in names]
        cells = [f"{statistics.mean(v):.1f} ± {statistics.stdev(v):.1f}" for v in values]
        lines.append((str(key[0]), str(key[1]), *cells))
    columns = ("flipped to", "method", *(name.replace("_", " ") for name in names))
    return Table(columns, lines, text_columns=2)


def main() -> None:
    """Evaluate the run's network once, flip labels, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    classifier = residua.load(options.run)
    test = classifier.recipe.data.load(classifier.recipe.seed).test
    probabilities = predict_split(classifier, test)
    accuracy = 100 * float((probabilities.argmax(1) == test.labels).double().mean())
    unflipped = find_label_errors(probabilities, test.labels)
    rate = 100 * estimated_noise_rate(probabilities, test.labels)
    rows = list(measure(probabilities, test))
    summary = (
        f"{classifier.recipe.name}, seed {classifier.recipe.seed}: {len(test):,} test images, "
        f"accuracy {accuracy:.2f} %, {round(SHARE * len(test))} labels flipped, {DRAWS} draws.\n"
        f"Without flips, {len(unflipped)} images are listed; the estimated share of wrong labels "
        f"is {rate:.1f} %.\n"
    )
    text = f"{summary}\n{markdown_table(table(rows))}\n"
    options.output.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (options.output / "draws.jsonl").write_text(lines, encoding="utf-8")
    (options.output / "output.txt").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
