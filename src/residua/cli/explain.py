"""`residua explain`."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from residua.cli.app import app
from residua.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from residua.data import Split
    from residua.data.split import Splits
    from residua.inference.classifier import Classifier
    from residua.reports.explanations import ExplainedImage, NearestImage
    from residua.reports.kit.tables import Table

NUMBERED = re.compile(r"(train|holdout|test):(\d{1,15})")


@app.command
def explain(
    model: Path,
    /,
    *images: str,
    target: str | None = None,
    layers: str = "",
    neighbors: int = 8,
    mistakes: bool = False,
    split: Literal["test", "holdout", "train"] = "test",
    checkpoint: Literal["best", "last"] = "best",
    device: str = "auto",
    output: Path = Path("runs/explain"),
) -> None:
    """Explain predictions: a page of heat maps, feature maps, filters and nearest images.

    With `--mistakes`: a page of the most confident errors and of likely wrong labels on a split.

    Parameters
    ----------
    model
        A run, or a directory with model.safetensors and model.json.
    images
        Image files; `test:123` is image 123 (from 0) of the test split of the model's data.
    target
        The class to explain; left out: the predicted one.
    layers
        The layers whose feature maps are shown, separated by commas: stem, stage1, stage2 ..., or
        names that `residua summary` prints; left out: the stem and all stages.
    neighbors
        The number of nearest training images to show; 0 for none. They need the data set.
    mistakes
        Show the mistakes on a split instead of explaining images.
    split
        The split to search for mistakes. The network has learnt the training images: their wrong
        labels are hard to find by its probabilities.
    checkpoint
        The network of the best epoch, or of the last one.
    device
        Where to compute: auto, cpu, cuda ...
    output
        The directory for explain.html, or for mistakes.html and label-errors.csv.
    """
    from residua.inference.classifier import load

    if mistakes == bool(images):
        raise UserError(
            "--mistakes takes no images: it shows those of a split"
            if images
            else "give images to explain: files, or test:0; or --mistakes"
        )
    if not 0 <= neighbors <= 100:
        raise UserError("--neighbors must be from 0 to 100")
    _check_output(output)
    classifier = load(model, checkpoint, device)
    if mistakes:
        _mistakes(classifier, split, output)
    else:
        chosen = [name.strip() for name in layers.split(",")] if layers else None
        _explain(classifier, images, target, chosen, neighbors, output)


def _explain(
    classifier: "Classifier",
    names: Sequence[str],
    target: str | None,
    layers: Sequence[str] | None,
    neighbors: int,
    output: Path,
) -> None:
    from residua.cli.console import console
    from residua.inference.explain import explain_image
    from residua.recipes.loading import suggestions
    from residua.reports.explanations import ExplainedImage, write_explanations
    from residua.reports.explanations.predictions import completeness
    from residua.reports.kit.tables import terminal_table

    if target is not None and target not in classifier.classes:
        raise UserError(
            f"--target: there is no class {target!r}{suggestions(target, classifier.classes)}"
        )
    data = _Data(classifier)
    images = [_read(data, name) for name in names]
    explanations = [explain_image(classifier, image, target, layers) for image, _ in images]
    nearest, reason = _nearest(data, [image for image, _ in images], neighbors)
    explained = [
        ExplainedImage(name, label, explanation, near)
        for name, (_, label), explanation, near in zip(
            names, images, explanations, nearest, strict=True
        )
    ]
    output.mkdir(parents=True, exist_ok=True)
    filters = classifier.network.network.first_convolution.weight.cpu()
    page = write_explanations(classifier.info, explained, filters, output, reason)
    console.print(terminal_table(_top_table(explained)))
    for item in explained:
        sentence = completeness(item.explanation.attribution, item.explanation.target)
        console.print(f"{item.name}: {sentence}", markup=False)
    if reason and neighbors:
        console.print(reason, markup=False)
    print(page)


def _mistakes(
    classifier: "Classifier", split_name: Literal["test", "holdout", "train"], output: Path
) -> None:
    from residua.cli.console import console
    from residua.inference.mistakes import find_mistakes
    from residua.reports.explanations import write_mistakes
    from residua.reports.explanations.mistakes import IN_SAMPLE, OUT_OF_SAMPLE, label_error_rows
    from residua.reports.kit.formatting import percent
    from residua.reports.kit.tables import Table, terminal_table

    split = _Data(classifier).split(split_name)
    output.mkdir(parents=True, exist_ok=True)
    with _progress("classifying", len(split)) as advance:
        found = find_mistakes(classifier, split, split_name, advance)
    page = write_mistakes(classifier.info, found, output)
    rows = [
        (f"{split_name}:{index}", label, predicted, percent(100 * own), percent(100 * confidence))
        for index, label, predicted, own, confidence in list(label_error_rows(found))[:10]
    ]
    columns = ("Likely wrong label", "Label", "Prediction", "Probability", "of the prediction")
    if rows:
        console.print(terminal_table(Table(columns, rows, text_columns=3)))
    errors = len(found.confident_errors)
    print(f"{errors:,} of {len(split):,} images misclassified, {len(found.label_errors):,} labels")
    print(IN_SAMPLE if found.in_sample else OUT_OF_SAMPLE)
    print(page)


class _Data:
    """The data set of a model, read when it is asked for."""

    def __init__(self, classifier: "Classifier") -> None:
        self.classifier = classifier
        self._splits: Splits | None = None

    def split(self, name: str) -> "Split":
        """A split. Raises UserError where the data set is missing, or is another one."""
        if self._splits is None:
            recipe = self.classifier.recipe
            self._splits = recipe.data.load(recipe.seed)
        split: Split | None = getattr(self._splits, name)
        if split is None:
            raise UserError("there is no holdout: the recipe's data.holdout is 0")
        if split.classes != self.classifier.classes:
            raise UserError("the data set has other classes than the network was trained on")
        return split


def _read(data: _Data, name: str) -> tuple["Tensor", str | None]:
    """An image (C, H, W) uint8, and its true class where it is known."""
    import torch

    from residua.data.decoding import decode

    numbered = NUMBERED.fullmatch(name)
    if numbered and not Path(name).exists():
        split, index = data.split(numbered[1]), int(numbered[2])
        if index >= len(split):
            raise UserError(f"there is no image {name}: numbers are from 0 to {len(split) - 1:,}")
        return split.images[index], split.classes[int(split.labels[index])]
    path = Path(name)
    if not path.is_file():
        raise UserError(f"no file {name}: give an image file, or test:0 for one of the test split")
    pixels, errors = decode([path], data.classifier.preparation)
    if errors:
        raise UserError(f"{name} cannot be read: {errors[0].reason}")
    return torch.from_numpy(pixels[0]), None


def _nearest(
    data: _Data, images: Sequence["Tensor"], count: int
) -> tuple[list[list["NearestImage"]], str]:
    """The nearest training images of each image; and why there are none, or an empty text."""
    import torch

    from residua.inference.explain import nearest_images
    from residua.reports.explanations import NearestImage

    nothing: list[list[NearestImage]] = [[] for _ in images]
    if not count:
        return nothing, "They were not asked for (--neighbors 0)."
    try:
        train = data.split("train")
    except UserError as error:
        return nothing, f"No nearest images, because the training images are not here: {error}."
    with _progress("comparing with training images", len(train)) as advance:
        found = nearest_images(data.classifier, torch.stack(list(images)), train, count, advance)
    return [
        [
            NearestImage(train.images[i], train.classes[int(train.labels[i])], i, similarity)
            for i, similarity in zip(*row, strict=True)
        ]
        for row in zip(found.indices.tolist(), found.similarity.tolist(), strict=True)
    ], ""


def _top_table(images: Sequence["ExplainedImage"]) -> "Table":
    """The five most probable classes of each image."""
    from residua.reports.kit.formatting import percent
    from residua.reports.kit.tables import Table

    rows = []
    for image in images:
        for rank, (name, probability) in enumerate(image.explanation.top):
            first = rank == 0
            heads = (image.name if first else "", (image.label or "not known") if first else "")
            rows.append((*heads, name, percent(100 * probability)))
    return Table(("Image", "True class", "Top 5", "Probability"), rows, text_columns=3)


def _check_output(path: Path) -> None:
    """Raise UserError for an output directory that is a run's, or no directory."""
    if (path / "recipe.json").exists():
        raise UserError(f"{path} is a run: choose another --output")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is no directory: choose another --output")


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.update(task, advance=count)
