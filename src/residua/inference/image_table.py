"""What a network answered for each image, as rows of text."""

import csv
import io
from collections.abc import Iterator, Sequence

from torch import Tensor

from residua.runs.evaluations import Outputs

TOP = 5


def image_csv(outputs: Outputs, classes: Sequence[str]) -> str:
    """One row an image, as CSV.

    The columns are index, label, prediction, correct (0 or 1), probability of the label, and the
    five most probable classes with their probabilities. Answers with test-time augmentation are in
    columns of their own, which begin with `tta_`.

    Args:
        outputs: the logits.
        classes: the names of the K classes.
    """
    views = {"": outputs.logits}
    if outputs.averaged is not None:
        views["tta_"] = outputs.averaged
    top = min(TOP, len(classes))
    names = ["prediction", "correct", "label_probability"]
    names += [f"top{rank}{part}" for rank in range(1, top + 1) for part in ("", "_probability")]
    columns = [prefix + name for prefix in views for name in names]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "label", *columns])
    answers = [_rows(logits, outputs.labels, classes, top) for logits in views.values()]
    labels = outputs.labels.tolist()
    for index, (label, *parts) in enumerate(zip(labels, *answers, strict=True)):
        writer.writerow([index, classes[label], *(cell for part in parts for cell in part)])
    return text.getvalue()


def _rows(
    logits: Tensor, labels: Tensor, classes: Sequence[str], top: int
) -> Iterator[list[str | int]]:
    probabilities = logits.softmax(1)
    of_label = probabilities.gather(1, labels[:, None]).flatten()
    best = probabilities.topk(top, dim=1)
    rows = zip(
        best.indices.tolist(), best.values.tolist(), of_label.tolist(), labels.tolist(), strict=True
    )
    for indices, values, probability, label in rows:
        ranked = zip(indices, values, strict=True)
        yield [
            classes[indices[0]],
            int(indices[0] == label),
            f"{probability:.6f}",
            *(cell for index, value in ranked for cell in (classes[index], f"{value:.6f}")),
        ]
