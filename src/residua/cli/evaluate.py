"""`residua evaluate`."""

from pathlib import Path
from typing import Literal

from residua.cli.app import app


@app.command
def evaluate(
    run: Path,
    /,
    *,
    checkpoint: Literal["best", "last"] = "best",
    split: Literal["test", "holdout", "train"] = "test",
    tta: Literal["none", "mirror", "mirror_translate"] | None = None,
    device: str | None = None,
) -> None:
    """Evaluate a run's network on a split of its data, and keep the figures in the run.

    A training with a holdout does not look at the test set: this does, once everything is chosen.
    The run's report, `result` and `residua compare` then have the figures.

    Parameters
    ----------
    run
        The directory of the run.
    checkpoint
        The network of the best epoch, or of the last one.
    split
        The images to evaluate on.
    tta
        Test-time augmentation: average the logits over each image alone, with its mirror image,
        or with both also shifted by a pixel. Left out: as the recipe says.
    device
        Where to evaluate; left out: as the recipe says.
    """
    from residua.inference import classifier
    from residua.runs.records import StoredEvaluation, ViewFigures
    from residua.runs.run import Run

    opened = Run.open(run)
    model = classifier.load(opened, checkpoint, device or opened.recipe.device)
    images = classifier.load_split(model, split)
    evaluation = model.evaluate(images, tta)
    print(
        f"{split} set, {checkpoint} epoch ({model.info.epoch}), tta {tta or model.info.tta}: "
        f"average loss {evaluation.loss:.4f}, "
        f"accuracy {evaluation.correct}/{len(evaluation.predicted)} "
        f"({evaluation.accuracy:.2f} %), top-5 {evaluation.top5:.2f} %"
    )
    opened.save_evaluation(
        split if checkpoint == "best" else f"{split}-{checkpoint}",
        StoredEvaluation(
            images=split,
            epoch=model.info.epoch,
            data_sha256=images.checksum,
            views={tta or model.info.tta: ViewFigures.model_validate(dict(evaluation.metrics))},
        ),
    )
