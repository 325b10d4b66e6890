"""What a person sees in the terminal while a network trains."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text
from torch import Tensor

from residua.augment.tta import TTA_DESCRIPTIONS
from residua.models import architecture_errors, summarize
from residua.recipes.recipe import Recipe
from residua.runs import log_lines
from residua.training.loop import (
    EpochFinished,
    Event,
    Finished,
    RolledBack,
    Started,
    StepFinished,
    Stopped,
)
from residua.training.state import Record

REFRESH = 0.25
"""Seconds between looks at the loss: each look makes the device wait."""

console = Console(highlight=False, soft_wrap=True)


class Speed(ProgressColumn):
    """Steps a second, as the published bars have them."""

    def render(self, task: Task) -> Text:
        """Nothing before there is a speed."""
        return Text(log_lines.rate(1, 1 / task.speed) if task.speed else "")


@contextmanager
def stop_requests() -> Iterator[list[str]]:
    """A list that an interrupt (Ctrl-C) or a termination puts its name into.

    The first asks to stop after the running step; the second Ctrl-C stops at once.
    """
    asked: list[str] = []

    def ask(number: int, _: FrameType | None) -> None:
        asked.append(signal.Signals(number).name)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show(events: Iterable[Event]) -> Finished | Stopped:
    """Iterate a training to its end, with a live bar and a line for every epoch."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        Speed(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    looked = 0.0
    tally: Tensor | None = None
    end: Finished | Stopped | None = None
    with progress:
        task = progress.add_task("", total=1, figures="")
        for event in events:
            match event:
                case Started(run, session, step):
                    per_epoch, epochs = session.sampler.steps_per_epoch, session.recipe.epochs
                    progress.update(task, total=per_epoch)
                    going = f"goes on at step {step:,}" if step else "begins"
                    console.print(
                        f"[bold]{session.recipe.name}[/] {going}: {epochs} epochs of "
                        f"{len(session.splits.train):,} images on {session.device}, in {run.path}"
                    )
                case StepFinished(step, loss, latest):
                    tally = latest
                    if time.monotonic() - looked >= REFRESH:
                        looked = time.monotonic()
                        epoch, into = divmod(step - 1, per_epoch)
                        accuracy = 100 * float(latest[1] / latest[2])
                        progress.update(
                            task,
                            completed=into + 1,
                            description=f"epoch {epoch + 1}/{epochs}",
                            figures=f"loss {float(loss):.4f}  accuracy {accuracy:.2f} %",
                        )
                case EpochFinished(record, best):
                    console.print(epoch_lines(record, epochs, best))
                case RolledBack(reason, step, lr_scale):
                    console.print(
                        f"[yellow]{reason}: back to step {step:,}, learning rates x {lr_scale:g}[/]"
                    )
                case Finished() | Stopped():
                    end = event
    if isinstance(end, Stopped) and end.step % per_epoch and tally is not None:
        console.print(_inside(end.step, per_epoch, tally))
    assert end is not None
    return end


def _inside(step: int, per_epoch: int, tally: Tensor) -> str:
    """Where a training stands that was stopped in the middle of an epoch."""
    loss, correct, seen = tally[:3].tolist()
    return (
        f"Inside epoch {step // per_epoch + 1}, after {step % per_epoch} of {per_epoch} batches: "
        f"mean loss {loss / seen:.4f}, accuracy {100 * correct / seen:.2f}%"
    )


def epoch_lines(record: Record, epochs: int, best: bool) -> str:
    """One finished epoch, in the form of the published logs."""
    lines = [
        f"[bold]EPOCH: {record['epoch']}/{epochs}[/]  rate {record['lr']:.3g}  "
        f"{record['images_per_second']:,.0f} images/s",
        log_lines.bar_line(record),
    ]
    evaluated = log_lines.test_line(record)
    if evaluated is not None:
        marks = log_lines.marks(record.get("target_reached", False), best)
        lines.append(evaluated + "".join(f" [green]✓ {mark}[/]" for mark in marks))
    if "gradient_warning" in record:
        lines.append(f"[yellow]{record['gradient_warning']}[/]")
    return "\n".join(lines)


def show_result(end: Finished) -> None:
    """The figures of a finished training."""
    result = end.result
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "epoch", "test accuracy", "top-5", "test loss"):
        table.add_column(column, justify="left" if not column else "right")
    for name in ("last", "best"):
        figures = result[name]
        table.add_row(
            f"{name} epoch",
            str(figures["epoch"]),
            f"{figures['test_accuracy']:.2f} %",
            f"{figures['test_top5']:.2f} %",
            f"{figures['test_loss']:.4f}",
        )
    console.print(table)
    if result["evaluations"] == 1:
        console.print(f"The {result['selected_on']} set was evaluated once, at the end.")
    elif result["selected_on"] == "test":
        console.print("The best epoch was chosen on the test set itself, which flatters it.")
    else:
        console.print("The best epoch was chosen on the holdout.")
    if result["views"] != "single":
        console.print(f"Logits are averaged over {TTA_DESCRIPTIONS[result['views']]}.")
    if result["target"] is not None:
        reached = result["target_reached_in_epoch"]
        said = f"reached in epoch {reached}" if reached else "not reached"
        console.print(f"Target {result['target']:g} %: {said}.")


def show_summary(recipe: Recipe, classes: int) -> None:
    """A network's layers, parameters, memory and arithmetic."""
    with architecture_errors():
        network = summarize(recipe.architecture.build(classes))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("layer", overflow="fold")
    table.add_column("kind")
    for column in ("output", "parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    for row in network.layers:
        shape = " x ".join(map(str, row.shape))
        figures = (f"{row.parameters:,}", f"{row.multiply_adds:,}")
        table.add_row(row.name, row.kind, shape, *figures)
    console.print(table)
    for name, value in (
        ("parameters", f"{network.parameters:,}"),
        ("trainable", f"{network.trainable:,}"),
        ("weighted layers", f"{network.depth}"),
        ("multiply-adds an image", f"{network.multiply_adds / 1e9:.3f} G"),
        ("input", f"{network.input_mib:.2f} MiB"),
        ("model size", f"{network.parameters_mib:.2f} MiB"),
        ("forward and backward", f"{network.activations_mib:.2f} MiB an image"),
    ):
        console.print(f"{name:24}{value}")


@contextmanager
def transfer(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for a download: call what it gives with the bytes so far and in all."""
    columns = (
        TextColumn(name),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
