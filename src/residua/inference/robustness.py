"""The accuracy of a network on corrupted images."""

from collections.abc import Callable, Sequence

from residua.augment.tta import TTA
from residua.data import Split
from residua.inference.classifier import Classifier
from residua.inference.corruptions import KINDS, SEVERITIES, Kind, corrupted_blocks
from residua.runs.evaluations import CorruptionRecord

Progress = Callable[[str, int, float], None]
"""Called with the kind, the severity and the accuracy in percent as each is finished."""


def evaluate_corruptions(
    classifier: Classifier,
    split: Split,
    kinds: Sequence[Kind] = KINDS,
    *,
    tta: TTA = "none",
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> CorruptionRecord:
    """Evaluate a network on each kind of corruption at each severity.

    One block of images is corrupted and classified at a time; the set is never held corrupted.

    Args:
        classifier: the network.
        split: the images.
        kinds: of corruption.
        tta: the test-time augmentation.
        seed: of the corruptions.
        progress: shows how far it is.

    Raises:
        UserError: the images have other classes than the network.
    """
    clean = classifier.evaluate(split, tta).accuracy
    accuracies: dict[str, tuple[float, ...]] = {}
    for kind in kinds:
        for severity in SEVERITIES:
            accuracy = _accuracy(classifier, split, kind, severity, tta, seed)
            accuracies[kind] = (*accuracies.get(kind, ()), accuracy)
            progress(kind, severity, accuracy)
    return CorruptionRecord(
        epoch=classifier.info.epoch,
        model_sha256=classifier.info.sha256,
        data_sha256=split.checksum,
        images=len(split),
        seed=seed,
        tta=tta,
        clean=clean,
        accuracies=accuracies,
        severities=SEVERITIES,
    )


def _accuracy(
    classifier: Classifier, split: Split, kind: Kind, severity: int, tta: TTA, seed: int
) -> float:
    correct = 0
    for start, images in corrupted_blocks(split.images, kind, severity, seed):
        labels = split.labels[start : start + len(images)]
        correct += int((classifier.classify(images, tta).cpu() == labels.cpu()).sum())
    return 100 * correct / len(split)
