"""The lines of a training's log in the form that the published documents print them.

Loss=4.0320 Batch_id=390 Accuracy=4.18: 100%|██████████| 391/391 [01:27<00:00, 4.45it/s]
Test set: Average loss: 4.0329, Accuracy: 1014/10000 (10.14%)
"""

from residua.runs.records import EpochRecord

BAR = "██████████"
TARGET = "Target Reached!"
BEST = "Best Model!"


def bar_line(record: EpochRecord) -> str:
    """The line that a progress bar leaves behind at the end of an epoch.

    The loss is that of the epoch's last batch, as in the documents; where the log does not have
    it, the epoch's mean.
    """
    steps = record.steps or round(record.step / record.epoch)
    loss = record.train_loss if record.last_loss is None else record.last_loss
    return (
        f"Loss={loss:.4f} Batch_id={steps - 1} Accuracy={record.train_accuracy:.2f}: "
        f"100%|{BAR}| {steps}/{steps} "
        f"[{format_duration(record.seconds)}<00:00, {format_speed(steps, record.seconds)}]"
    )


def evaluation_line(record: EpochRecord) -> str | None:
    """The line of an evaluation; None where the epoch was not evaluated."""
    evaluation = record.evaluation
    if evaluation is None or record.evaluated_split is None:
        return None
    accuracy = f"{evaluation.accuracy:.2f}%"
    if evaluation.images is not None:
        accuracy = f"{evaluation.correct}/{evaluation.images} ({accuracy})"
    return (
        f"{record.evaluated_split.capitalize()} set: Average loss: {evaluation.loss:.4f}, "
        f"Accuracy: {accuracy}"
    )


def badges(record: EpochRecord, best: bool) -> tuple[str, ...]:
    """What stands behind an evaluation line: the target was first reached; it is the best epoch."""
    return (TARGET,) * record.target_reached + (BEST,) * best


def format_duration(seconds: float) -> str:
    """Seconds as a progress bar shows them: 01:27, or 1:01:27."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def format_speed(steps: int, seconds: float) -> str:
    """Steps a second, or seconds a step where that is more than one."""
    speed = steps / max(seconds, 1e-9)
    return f"{speed:.2f}it/s" if speed >= 1 else f"{1 / max(speed, 1e-9):.2f}s/it"
