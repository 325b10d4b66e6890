"""`residua evaluate`."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from residua.cli.app import Overrides, app
from residua.errors import UserError

if TYPE_CHECKING:
    from residua.augment.tta import TTA
    from residua.cli.show_evaluation import Evaluated
    from residua.data import Split
    from residua.inference.classifier import Classifier
    from residua.inference.corruptions import Kind
    from residua.recipes.recipe import Recipe
    from residua.runs.evaluations import CorruptionRecord
    from residua.runs.model_file import Which
    from residua.runs.records import SplitName
    from residua.runs.run import Run

OPTIONS = (
    *("--checkpoint", "--split", "--data", "--tta", "--mode", "--batch-size", "--corruptions"),
    *("--reference", "--per-class", "--json", "--csv", "--name", "--seed", "--device"),
)
"""What an unknown option is compared with."""


@app.command
def evaluate(
    model: Path,
    /,
    *more: Overrides,
    checkpoint: Literal["best", "last"] = "best",
    split: Literal["test", "holdout", "train"] | None = None,
    data: Path | None = None,
    tta: Literal["none", "mirror", "mirror_translate"] | None = None,
    mode: Literal["eval", "train"] = "eval",
    batch_size: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    corruptions: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    reference: Path | None = None,
    per_class: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    csv: Path | None = None,
    name: str | None = None,
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=2**53))] = 0,
    device: str | None = None,
) -> None:
    """Evaluate trained networks: accuracies, calibration and intervals from one pass.

    The figures are stored in the run (evaluations/NAME.json, with the logits beside it), where
    `residua report` shows them. Fields of the data set are overridden by their dotted paths. With
    several runs, each is evaluated alone, then the ensemble of their mean probabilities.

    A training with a holdout does not look at the test set: this does, once everything is chosen.
    Its report and `residua compare` then have the figures.

    For example:

        residua evaluate runs/mine

        residua evaluate runs/mine --data photographs --csv answers.csv

        residua evaluate runs/mine --data.root /data --split holdout --json

        residua evaluate runs/seed0 runs/seed1 runs/seed2

        residua evaluate runs/mine --corruptions fog snow jpeg_compression

    Parameters
    ----------
    model
        A run, or a directory with model.safetensors and model.json. Several make an ensemble.
    checkpoint
        The network of the best epoch, or of the last one.
    split
        The images to evaluate on; left out: test.
    data
        Another test set: a folder with a subfolder for each class, named as in the training.
    tta
        Test-time augmentation: average the logits over each image alone, with its mirror image,
        or with both also shifted by a pixel. Left out: as the recipe says. Its figures have their
        own name, beside those of single views.
    mode
        train: batch statistics, and dropout active, as if the network was never switched to
        evaluation mode. Some published figures were measured so, such as those of resnet26w.
    batch_size
        Images whose statistics are used together in mode train; left out: as the recipe says.
    corruptions
        Also evaluate on corrupted images: the kinds of CIFAR-C, or none for all 15.
    reference
        A run evaluated on the same corruptions, which errors are set in relation to.
    per_class
        Show every class and superclass.
    json
        Print everything as JSON instead of tables.
    csv
        Write a file with one row an image.
    name
        What the evaluation is called in the run; left out: the split or the folder.
    seed
        Of the bootstrap, of corruptions, and of dropout in mode train.
    device
        Where to evaluate; left out: as the recipe says.
    """
    from residua.cli import show_evaluation as show
    from residua.inference.full_evaluation import evaluate_fully
    from residua.runs.evaluations import check_name

    models, overrides = _divided([str(model), *more])
    kinds = _kinds(corruptions)
    _check_options(models, overrides, split, data, mode, batch_size, kinds, reference, csv)
    if name is not None:
        check_name(name)
    relative_to = None if reference is None else _reference(reference)
    found: list[show.Evaluated] = []
    for path in models:
        run, classifier = _open(path, checkpoint, device)
        images = _images(classifier, run, split or "test", data, overrides)
        evaluation = evaluate_fully(
            classifier,
            images.split,
            name or images.name + _suffix(checkpoint, mode),
            images.name,
            holdout=images.holdout,
            temperatures=images.temperatures,
            tta="none" if mode == "train" else tta,
            mode=mode,
            batch_size=batch_size,
            seed=seed,
        )
        found.append(show.Evaluated(path, run, evaluation))
        if evaluation.record.data_sha256 != found[0].evaluation.record.data_sha256:
            raise UserError(f"{path} has other images than {models[0]}: give them one --data")
    corrupted, relative = None, None
    if kinds:
        from residua.inference.robustness import evaluate_corruptions

        if relative_to is not None:
            relative_to.check_comparable(images.split.checksum, seed, tta or "none", kinds)
        progress = show.corruption_progress(len(kinds))
        corrupted = evaluate_corruptions(
            classifier, images.split, kinds, tta=tta or "none", seed=seed, progress=progress
        )
        relative = None if relative_to is None else corrupted.relative_error(relative_to)
    written = _store(found, corrupted, csv)
    if json:
        show.print_json(found, images.split, corrupted, relative, seed)
        return
    for each in found:
        show.print_evaluation(each, per_class)
    if len(found) > 1:
        show.print_ensemble(found, images.split, seed)
    if corrupted is not None:
        show.print_corruptions(corrupted, relative, reference)
    for path in written:
        print(path)


def _store(
    found: "Sequence[Evaluated]", corrupted: "CorruptionRecord | None", csv: Path | None
) -> list[Path]:
    """Write evaluations into their runs, and the answers for each image into a file."""
    from residua import files
    from residua.inference.image_table import image_csv
    from residua.runs.evaluations import load_corruptions, save_corruptions, save_evaluation

    written = []
    for each in found:
        if each.run is None:
            continue
        written.append(save_evaluation(each.run, each.evaluation.record, each.evaluation.outputs))
        if corrupted is not None:
            merged = corrupted.merged_with(load_corruptions(each.run))
            written.append(save_corruptions(each.run, merged))
    if csv is not None:
        evaluation = found[0].evaluation
        classes = [row.name for row in evaluation.record.single.classes]
        files.write_atomic(csv, image_csv(evaluation.outputs, classes))
        written.append(csv)
    return written


@dataclass(frozen=True)
class Images:
    """What a network is evaluated on."""

    name: str
    split: "Split"
    holdout: "Split | None" = None
    """Images to fit a temperature on."""
    temperatures: "Mapping[TTA, float]" = field(default_factory=dict)
    """Those fitted earlier."""


def _divided(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Directories, and behind them the overrides of fields of the data set."""
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    return [Path(word) for word in words[:first]], list(words[first:])


def _check_options(
    models: Sequence[Path],
    overrides: Sequence[str],
    split: str | None,
    data: Path | None,
    mode: str,
    batch_size: int | None,
    kinds: "Sequence[Kind]",
    reference: Path | None,
    csv: Path | None,
) -> None:
    """Raises UserError for options that do not go together, before anything is computed."""
    if data is not None and (split is not None or overrides):
        raise UserError("--data FOLDER is a whole test set: leave out --split and --data.FIELD")
    if len(models) > 1 and (kinds or csv):
        raise UserError("--corruptions and --csv are for a single network")
    if batch_size is not None and mode == "eval":
        raise UserError("--batch-size is that of the batch statistics: use it with --mode train")
    if kinds and mode == "train":
        raise UserError("--corruptions are for --mode eval")
    if reference is not None and not kinds:
        raise UserError("--reference is for --corruptions")
    if csv is not None and (csv.is_dir() or not csv.parent.is_dir()):
        raise UserError(f"--csv {csv}: not a file in an existing folder")


def _kinds(words: Sequence[str] | None) -> "Sequence[Kind]":
    """The kinds of corruption: all where none is named, none without the option."""
    if words is None:
        return ()
    from residua.inference.corruptions import KINDS
    from residua.recipes.loading import suggestions

    for word in words:
        if word not in KINDS:
            raise UserError(f"there is no corruption {word!r}{suggestions(word, KINDS)}")
    return [kind for kind in KINDS if not words or kind in words]


def _suffix(checkpoint: str, mode: str) -> str:
    """What the name of an evaluation says besides the images."""
    last = "-last" if checkpoint == "last" else ""
    return last + ("-train-mode" if mode == "train" else "")


def _folder_name(folder: Path) -> str:
    """A name for the images of a folder that no split has."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip(".-_")
    return f"folder-{name[:30]}"


def _open(path: Path, which: "Which", device: str | None) -> "tuple[Run | None, Classifier]":
    """The run, where the directory is one, and its network."""
    from residua.devices import select_device
    from residua.inference.classifier import Classifier
    from residua.runs.model_file import load_model
    from residua.runs.run import Run

    run = Run.open(path) if (path / "recipe.json").is_file() else None
    network, info = load_model(path, which)
    return run, Classifier(network, info, select_device(device or info.recipe.device))


def _images(
    classifier: "Classifier",
    run: "Run | None",
    split: "SplitName",
    folder: Path | None,
    overrides: Sequence[str],
) -> Images:
    """The images to evaluate on, and what to calibrate by."""
    from residua.data.folder import read_test_files

    if folder is not None:
        images = read_test_files(folder, classifier.preparation, classifier.classes)
        fitted = _stored_temperatures(run, classifier)
        return Images(_folder_name(folder), images, temperatures=fitted)
    recipe = classifier.recipe
    source = _overridden(recipe, overrides).data
    splits = source.load(recipe.seed)
    images = getattr(splits, split)
    if images is None:
        raise UserError("there is no holdout: the recipe's data.holdout is 0")
    if run is not None and not overrides:
        trained_beside = run.data.splits.get(split)
        if trained_beside and trained_beside.sha256 not in ("", images.checksum):
            warnings.warn(
                f"the {split} set is another one than when {run.path} was trained", stacklevel=2
            )
    elsewhere = {"root", "path"}
    same = source.model_dump(exclude=elsewhere) == recipe.data.model_dump(exclude=elsewhere)
    # A part of a split does not replace the figures of the whole.
    name = split if same else f"{split}-{len(images)}"
    return Images(name, images, splits.holdout if split == "test" else None)


def _overridden(recipe: "Recipe", overrides: Sequence[str]) -> "Recipe":
    from residua.recipes.loading import (
        apply_overrides,
        parse_overrides,
        parse_recipe,
        suggestions,
    )

    pairs = parse_overrides(overrides)
    for path, _ in pairs:
        if not path.startswith("data."):
            option = f"--{path.replace('_', '-')}"
            raise UserError(f"there is no option {option}{suggestions(option, OPTIONS)}")
        if path == "data.holdout":
            raise UserError("--data.holdout: the holdout is that of the training")
    return parse_recipe(apply_overrides(recipe.model_dump(mode="json"), pairs))


def _stored_temperatures(run: "Run | None", classifier: "Classifier") -> "Mapping[TTA, float]":
    """The temperatures that were fitted when this network was evaluated on its test set."""
    from residua.runs.evaluations import load_evaluations

    for record in [] if run is None else load_evaluations(run):
        if record.model_sha256 == classifier.info.sha256 and record.mode == "eval":
            fitted = {
                tta: figures.calibrated.temperature
                for tta, figures in record.views.items()
                if figures.calibrated is not None
            }
            if fitted:
                return fitted
    return {}


def _reference(path: Path) -> "CorruptionRecord":
    from residua.runs.evaluations import load_corruptions
    from residua.runs.run import Run

    record = load_corruptions(Run.open(path))
    if record is None:
        raise UserError(
            f"{path} has no figures on corruptions: `residua evaluate {path}` with them"
        )
    return record
