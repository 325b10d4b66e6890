"""An evaluation in full: one pass over the images, all figures, a record to keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from residua.augment.tta import TTA
from residua.data import Split
from residua.inference.calibration import fit_temperature
from residua.inference.classifier import Classifier
from residua.inference.metrics import figures
from residua.runs.evaluations import EvaluationRecord, Mode, Outputs


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
    temperatures: Mapping[TTA, float] = MappingProxyType({}),
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
        temperatures: fitted earlier, by test-time augmentation; used where there is no holdout.
        tta: the test-time augmentation, with figures of its own; None uses the recipe's. There is
            none in mode train.
        mode: whether batch statistics and dropout are active.
        batch_size: images whose statistics are used together in mode train; None for the recipe's.
        seed: of the bootstrap, and of dropout in mode train.

    Raises:
        UserError: the images have other classes than the network.
    """
    outputs = _outputs(classifier, split, tta, mode, batch_size, seed)
    view = classifier.info.tta if tta is None else tta
    fitted = dict(temperatures)
    if holdout is not None:
        found = _outputs(classifier, holdout, tta, mode, batch_size, seed)
        fitted = {
            name: fit_temperature(logits, found.labels)
            for name, logits in found.views(view).items()
        }
    views = {
        name: figures(
            logits,
            outputs.labels,
            split.classes,
            split.superclass_of,
            split.superclasses,
            temperature=fitted.get(name),
            seed=seed,
        )
        for name, logits in outputs.views(view).items()
    }
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
