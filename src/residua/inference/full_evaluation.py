"""An evaluation in full: one pass over the images, all figures, a record to keep."""

from dataclasses import dataclass

from residua.augment.tta import TTA
from residua.data import Split
from residua.inference.calibration import fit_temperature
from residua.inference.classifier import Classifier
from residua.inference.metrics import figures
from residua.runs.evaluations import EvaluationRecord, Figures, Mode, Outputs


@dataclass(frozen=True)
class FullEvaluation:
    """All figures of a network on a set of images, and the logits they come from."""

    record: EvaluationRecord
    outputs: Outputs


def evaluate_fully(
    classifier: Classifier,
    split: Split,
    name: str,
    images: str = "test",
    *,
    holdout: Split | None = None,
    tta: TTA | None = None,
    mode: Mode = "eval",
    batch_size: int | None = None,
    seed: int = 0,
) -> FullEvaluation:
    """Compute everything that the logits of a split say.

    Args:
        classifier: the network.
        split: the images.
        name: of the record.
        images: what they are: `test`, `holdout`, `train`, or the name of a folder.
        holdout: images to fit a temperature on, which the network was not trained on; None for no
            calibration.
        tta: the test-time augmentation, with figures of its own; None uses the recipe's.
        mode: whether batch statistics and dropout are active.
        batch_size: images whose statistics are used together in mode train; None for the recipe's.
        seed: of the bootstrap, and of dropout in mode train.

    Raises:
        UserError: the images have other classes than the network, or test-time augmentation is
            asked for in mode train.
    """
    outputs = _outputs(classifier, split, tta, mode, batch_size, seed)
    fitted = None
    if holdout is not None:
        fitted = _outputs(classifier, holdout, tta, mode, batch_size, seed)
    views: dict[TTA, Figures] = {"none": _figures(split, outputs, fitted, seed)}
    view = classifier.info.tta if tta is None else tta
    if outputs.averaged is not None:
        views[view] = _figures(split, _averaged(outputs), fitted and _averaged(fitted), seed)
    record = EvaluationRecord(
        name=name,
        images=images,
        epoch=classifier.info.epoch,
        model_sha256=classifier.info.sha256,
        data_sha256=split.checksum,
        mode=mode,
        seed=seed,
        batch_size=(batch_size or classifier.recipe.batch_size) if mode == "train" else None,
        views=views,
    )
    return FullEvaluation(record, outputs)


def _outputs(
    classifier: Classifier,
    split: Split,
    tta: TTA | None,
    mode: Mode,
    batch_size: int | None,
    seed: int,
) -> Outputs:
    if mode == "train":
        return classifier.outputs_in_training_mode(split, seed, batch_size)
    return classifier.outputs(split, tta)


def _averaged(outputs: Outputs) -> Outputs:
    assert outputs.averaged is not None
    return Outputs(outputs.labels, outputs.averaged)


def _figures(split: Split, outputs: Outputs, fitted: Outputs | None, seed: int) -> Figures:
    return figures(
        outputs.logits,
        outputs.labels,
        split.classes,
        split.superclass_of,
        split.superclasses,
        temperature=None if fitted is None else fit_temperature(fitted.logits, fitted.labels),
        seed=seed,
    )
