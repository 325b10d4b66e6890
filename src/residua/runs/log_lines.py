"""The lines of a training's log in the form that the published documents print them.

Loss=4.0320 Batch_id=390 Accuracy=4.18: 100%|██████████| 391/391 [01:27<00:00, 4.45it/s]
Test set: Average loss: 4.0329, Accuracy: 1014/10000 (10.14%)
"""

from residua.training.state import Record

BAR = "██████████"
TARGET = "Target Reached!"
BEST = "Best Model!"


def bar_line(record: Record, steps: int | None = None) -> str:
    """The line that a progress bar leaves behind at the end of an epoch.

    Args:
        record: an epoch of the log. The loss is that of its last batch, as in the documents
            (`last_loss`); where the log does not have it, the epoch's mean.
        steps: batches of the epoch, where the record does not say (`steps`); left out: the steps
            so far shared out evenly over the epochs so far.
    """
    batches = record.get("steps", steps)
    if batches is None:
        batches = round(record.get("step", record["epoch"]) / record["epoch"])
    loss = record.get("last_loss", record["train_loss"])
    return (
        f"Loss={loss:.4f} Batch_id={batches - 1} Accuracy={record['train_accuracy']:.2f}: "
        f"100%|{BAR}| {batches}/{batches} "
        f"[{clock(record['seconds'])}<00:00, {rate(batches, record['seconds'])}]"
    )


def test_line(record: Record, images: int | None = None) -> str | None:  # noqa: PT028
    """The line of an evaluation; None where the epoch was not evaluated.

    Args:
        record: an epoch of the log.
        images: how many were evaluated, where the record does not say (`test_images`); where
            neither does, the line goes without the count.
    """
    split = "test" if "test_accuracy" in record else "holdout"
    if f"{split}_accuracy" not in record:
        return None
    accuracy = record[f"{split}_accuracy"]
    total = record.get(f"{split}_images", images)
    counted = "" if total is None else f"{round(accuracy * total / 100)}/{total} "
    share = f"({accuracy:.2f}%)" if counted else f"{accuracy:.2f}%"
    return (
        f"{split.capitalize()} set: Average loss: {record[f'{split}_loss']:.4f}, "
        f"Accuracy: {counted}{share}"
    )


def marks(target: bool, best: bool) -> tuple[str, ...]:
    """What stands behind a test line: the target was reached first here; it is the best epoch."""
    return (TARGET,) * target + (BEST,) * best


def clock(seconds: float) -> str:
    """Seconds as a progress bar has them: 01:27, or 1:01:27."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def rate(steps: int, seconds: float) -> str:
    """Steps a second, or seconds a step where that is more than one."""
    speed = steps / max(seconds, 1e-9)
    return f"{speed:.2f}it/s" if speed >= 1 else f"{1 / max(speed, 1e-9):.2f}s/it"
