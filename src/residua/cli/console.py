"""The terminal: progress of a training, summaries, downloads."""

import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Self, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from residua.augment.tta import TTA_DESCRIPTIONS
from residua.cli.output import Output, printable
from residua.data.progress import progress_reported
from residua.models import architecture_errors, summarize
from residua.recipes.recipe import Recipe
from residua.runs import log_lines
from residua.runs.records import DataFingerprint, EpochRecord, InitRecord, Result
from residua.training.events import (
    EpochFinished,
    Event,
    Extended,
    Finished,
    Observer,
    RolledBack,
    Started,
    StepFinished,
    Stopped,
    observe,
)
from residua.training.metrics import EpochMetrics

if TYPE_CHECKING:
    from residua.training.time_budget import TimePlan
    from residua.training.timing import TrainingEstimate

REFRESH_INTERVAL = 0.25
"""Seconds between updates of loss and accuracy: each makes the host wait for the device."""
LINE_INTERVAL = 30.0
"""Seconds between lines within an epoch where no bar can be shown: in a file or a pipe."""

console = Console(file=cast(IO[str], Output()), highlight=False, soft_wrap=True)


class SpeedColumn(ProgressColumn):
    """Steps a second, in the form of the published logs."""

    def render(self, task: Task) -> Text:
        """Return the speed; nothing before the first step."""
        return Text(log_lines.format_speed(1, 1 / task.speed) if task.speed else "")


@contextmanager
def stop_requests() -> Iterator[list[str]]:
    """Collect the names of received SIGINT (Ctrl-C), SIGTERM and SIGHUP signals in a list.

    The first signal asks the training to stop after the running step; a second Ctrl-C interrupts
    at once. A terminal that is closed sends SIGHUP. Signals that the process was started to
    ignore, as by nohup, stay ignored.
    """
    received: list[str] = []
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    previous = {
        number: signal.getsignal(number)
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN
    }

    def handle(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        if signal.SIGINT in previous:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in previous:
        signal.signal(number, handle)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class ProgressDisplay:
    """An observer that shows a live bar within epochs and prints lines for every epoch.

    In a file or a pipe, lines within long epochs take the place of the bar. A context manager: the
    bar is removed when it ends.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            SpeedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            expand=True,
        )
        self._task = self._progress.add_task("", total=1, figures="", left="")
        self._epochs = self._steps_per_epoch = 1
        self._step = self._first_step = self._evaluated_batches = 0
        self._metrics: EpochMetrics | None = None
        self._exit = ExitStack()
        self._started = time.monotonic()
        self._next_refresh = 0.0
        self._next_line = self._started + LINE_INTERVAL

    def __enter__(self) -> Self:
        self._progress.start()
        self._exit.enter_context(progress_reported(self._show_reading))
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event of a training."""
        match event:
            case Extended():
                console.print(extension_lines(event), markup=False)
            case Started():
                self._start(event)
            case StepFinished(step, metrics):
                self._metrics, self._step, self._evaluated_batches = metrics, step, 0
                if self._is_due():
                    self._refresh(step, metrics)
            case EpochFinished(record, best):
                width = console.width if console.is_terminal else None
                console.print(epoch_lines(record, self._epochs, best, width))
                self._next_line = time.monotonic() + LINE_INTERVAL
            case RolledBack(reason, step, lr_scale):
                self._step = step
                console.print(
                    f"[yellow]{escape(reason)}: rolled back to step {step:,}, "
                    f"learning rates x {lr_scale:g}[/]"
                )
            case Stopped(step) if step % self._steps_per_epoch and self._metrics is not None:
                console.print(partial_epoch_line(step, self._steps_per_epoch, self._metrics))

    def check_evaluation(self, step: int) -> None:
        """Show an evaluation where one is running; called before steps and its batches.

        Args:
            step: of the progress that a `StopCondition` gets: during an evaluation, the step
                before the last one.
        """
        if step >= self._step:
            return
        self._evaluated_batches += 1
        if self._is_due():
            epoch = f"epoch {(self._step - 1) // self._steps_per_epoch + 1}/{self._epochs}"
            figures = f"evaluation, batch {self._evaluated_batches}"
            if console.is_terminal:
                self._progress.update(self._task, description=epoch, figures=figures)
            else:
                console.print(f"{epoch}: {figures}")

    def _show_reading(self, done: int, total: int) -> None:
        """Show how many of the files of a data set are read."""
        if self._is_due():
            if console.is_terminal:
                self._progress.update(
                    self._task, description="reading pictures", completed=done, total=total
                )
            else:
                console.print(reading_line(done, total))

    def _is_due(self) -> bool:
        """Whether the bar, or a line, is due to be shown."""
        now = time.monotonic()
        if console.is_terminal:
            if now < self._next_refresh:
                return False
            self._next_refresh = now + REFRESH_INTERVAL
        else:
            if now < self._next_line:
                return False
            self._next_line = now + LINE_INTERVAL
        return True

    def _start(self, event: Started) -> None:
        self._step = self._first_step = event.step
        self._started = time.monotonic()
        self._next_line = self._started + LINE_INTERVAL
        self._epochs, self._steps_per_epoch = event.recipe.epochs, event.steps_per_epoch
        self._progress.update(self._task, total=event.steps_per_epoch, completed=0)
        action = f"continues at step {event.step:,}" if event.step else "starts"
        precision = event.recipe.precision
        device = event.device if precision == "float32" else f"{event.device} in {precision}"
        console.print(
            f"[bold]{event.recipe.name}[/] {action}: {event.recipe.epochs} epochs of "
            f"{event.train_images:,} images on {device}, "
            f"in {escape(printable(str(event.run.path)))}"
        )
        if event.step == 0 and (init := event.run.init) is not None:
            console.print(init_line(init), markup=False)
        for note in event.notes:
            console.print(f"[yellow]{escape(printable(note))}[/]")

    def _refresh(self, step: int, metrics: EpochMetrics) -> None:
        epoch, index = divmod(step - 1, self._steps_per_epoch)
        description = f"epoch {epoch + 1}/{self._epochs}"
        figures = f"loss {metrics.last_loss:.4f}, {metrics.accuracy:.2f} %"
        left = f"{log_lines.format_duration(self._seconds_left())} left"
        if console.is_terminal:
            self._progress.update(
                self._task,
                completed=index + 1,
                description=description,
                figures=figures,
                left=left,
            )
        else:
            batch = f"batch {index + 1}/{self._steps_per_epoch}"
            console.print(f"{description}, {batch}: {figures}, {left}")

    def _seconds_left(self) -> float:
        """The estimated seconds until the training ends, its evaluations included."""
        pace = (time.monotonic() - self._started) / max(1, self._step - self._first_step)
        return pace * (self._epochs * self._steps_per_epoch - self._step)


def show(
    events: Iterable[Event], *observers: Observer, display: ProgressDisplay | None = None
) -> Finished | Stopped:
    """Run a training to its end, shown in the terminal.

    Args:
        events: of `train` or `resume`.
        observers: further ones, each of which may fail without ending the training.
        display: the one that shows it; left out: a new one.
    """
    last: Event | None = None
    with display or ProgressDisplay() as shown:
        for event in observe(events, shown, *observers):
            last = event
    assert isinstance(last, Finished | Stopped)
    return last


def init_line(init: InitRecord) -> str:
    """Describe the trained network that a training starts from."""
    head = "a new head for other classes" if init.new_head else "its head too"
    whose = "its own channel statistics" if init.source_normalization else "those of these images"
    return (
        f"Weights of {init.recipe}, epoch {init.epoch}, from {printable(init.source)}: {head}; "
        f"normalization by {whose}."
    )


def extension_lines(event: Extended) -> str:
    """Describe what an extension does to the schedules."""
    lines = [
        f"Extended from {event.epochs_before} to {event.epochs} epochs, after step "
        f"{event.step:,}: schedules are from here on those of a training of {event.epochs} epochs, "
        f"so the learning rate goes from {event.lr_before:.3g} to {event.lr:.3g}."
    ]
    if event.lr > event.lr_before:
        lines.append(
            "It rises again, so accuracy can fall at first. To continue with small rates instead, "
            "train a new run from this one: residua train RUN/recipe.json --init RUN "
            "--optimizer.lr SMALL"
        )
    return "\n".join(lines)


def partial_epoch_line(step: int, steps_per_epoch: int, metrics: EpochMetrics) -> str:
    """Describe an epoch in which a training was stopped."""
    epoch, index = divmod(step, steps_per_epoch)
    return (
        f"Inside epoch {epoch + 1}, after {index} of {steps_per_epoch} batches: "
        f"mean loss {metrics.loss:.4f}, accuracy {metrics.accuracy:.2f}%"
    )


def epoch_lines(record: EpochRecord, epochs: int, best: bool, width: int | None = None) -> str:
    """Format a finished epoch in the form of the published logs.

    Args:
        record: of the epoch.
        epochs: of the training.
        best: whether the epoch is the best so far.
        width: the columns of the terminal, which shorten the lines; None: as published.
    """
    flops = record.flops_per_second
    arithmetic = "" if flops is None else f"  {flops / 1e9:,.3g} GFLOP/s"
    lines = [
        f"[bold]EPOCH: {record.epoch}/{epochs}[/]  lr {record.lr:.3g}  "
        f"{record.images_per_second:,.0f} images/s{arithmetic}",
        escape(_fitted_bar_line(log_lines.bar_line(record), width)),
    ]
    evaluation = log_lines.evaluation_line(record)
    if evaluation is not None:
        badges = [f"✓ {badge}" for badge in log_lines.badges(record, best)]
        fits = width is None or len(" ".join((evaluation, *badges))) <= width
        shown = [f"[green]{badge}[/]" for badge in badges]
        lines += [" ".join((evaluation, *shown))] if fits else [evaluation, " ".join(shown)]
    if record.gradient_warning is not None:
        lines.append(f"[yellow]{escape(record.gradient_warning)}[/]")
    return "\n".join(lines)


def _fitted_bar_line(line: str, width: int | None) -> str:
    """A bar line in at most this many columns: its bar, then its constant parts are left out."""
    if width is None or len(line) <= width:
        return line
    bar = log_lines.BAR[: max(0, len(log_lines.BAR) - (len(line) - width))]
    line = line.replace(f"|{log_lines.BAR}|", f"|{bar}|" if bar else " ")
    for constant in ("100% ", "<00:00"):
        if len(line) > width:
            line = line.replace(constant, "")
    return line


def show_result(result: Result, path: Path, data: DataFingerprint | None = None) -> None:
    """Print the figures of a finished training.

    Args:
        result: the figures.
        path: of the run.
        data: what was trained on, where it is known.
    """
    from residua.reports.kit.formatting import duration, scaled

    split, data = result.selection_split, data or DataFingerprint()
    rows = [
        (
            f"{name} epoch",
            str(figures.epoch),
            f"{metrics.accuracy:.2f} %",
            *([f"{metrics.top5:.2f} %"] if data.has_top5 else []),
            f"{metrics.loss:.4f}",
        )
        for name, figures in (("last", result.last), ("best", result.best))
        if (metrics := figures.metrics(split)) is not None
    ]
    top5 = ("top-5",) if data.has_top5 else ()
    _print_table(("", "epoch", f"{split} accuracy", *top5, f"{split} loss"), rows)
    for caution in data.cautions:
        console.print(f"[yellow]{caution}[/]")
    if result.evaluations == 1:
        console.print(f"The {split} set was evaluated once, at the end.")
    elif split == "test":
        console.print(
            "The best epoch was selected on the test set itself: its accuracy is optimistic."
        )
    else:
        console.print("The best epoch was selected on the holdout.")
    if result.last.test_accuracy is None:
        quoted = printable(shlex.quote(str(path)))
        console.print(
            f"The test set was not evaluated. To do it: residua evaluate {quoted}", markup=False
        )
    if result.tta != "none":
        console.print(f"Logits are averaged over {TTA_DESCRIPTIONS[result.tta]}.")
    if result.target_accuracy is not None:
        epoch = result.target_epoch
        outcome = f"reached in epoch {epoch}" if epoch else "not reached"
        console.print(f"Target {result.target_accuracy:g} %: {outcome}.")
    if result.flops and result.train_seconds:
        console.print(
            f"Training computed {scaled(result.flops)}FLOP in {duration(result.train_seconds)}: "
            f"{scaled(result.flops / result.train_seconds)}FLOP/s."
        )


def show_plan(plan: "TimePlan", usual_epochs: int) -> None:
    """Print how many epochs a training gets in a budget of time.

    Args:
        plan: the training.
        usual_epochs: what its recipe says.
    """
    estimate, epochs = plan.estimate, plan.recipe.epochs
    words = "epoch" if epochs == 1 else "epochs"
    console.print(
        f"{epochs} {words} in about {estimate.total_seconds / 60:.1f} minutes, "
        f"{estimate.evaluation_seconds / 60:.1f} of them evaluation, at "
        f"{estimate.images_per_second:,.0f} images/s as measured now. The recipe says "
        f"{usual_epochs}: its schedules are stretched by {epochs / usual_epochs:.3g}."
    )


def show_summary(recipe: Recipe) -> None:
    """Print a network's layers, parameters, memory and arithmetic."""
    classes, channels = recipe.data.num_classes, recipe.data.num_channels
    with architecture_errors():
        network = recipe.architecture.build(classes, channels=channels)
        summary = summarize(network, channels=channels)
    rows = [
        (
            row.name,
            row.kind,
            " x ".join(map(str, row.shape)),
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
        )
        for row in summary.layers
    ]
    _print_table(("layer", "kind", "output", "parameters", "multiply-adds"), rows, text_columns=2)
    _print_values(
        ("parameters", f"{summary.parameters:,}"),
        ("trainable", f"{summary.trainable:,}"),
        ("weighted layers", f"{summary.depth}"),
        ("multiply-adds per image", f"{summary.multiply_adds / 1e9:.3f} G"),
        ("input", f"{summary.input_mib:.2f} MiB"),
        ("model size", f"{summary.parameters_mib:.2f} MiB"),
        ("forward and backward", f"{summary.activations_mib:.2f} MiB per image"),
    )


def show_estimate(estimate: "TrainingEstimate") -> None:
    """Print how fast the measured training steps were, and the estimated time of the training."""
    from residua.reports.kit.formatting import duration

    console.print(f"\nMeasured on {estimate.device}; times of the whole training are estimates:")
    rows = [
        (
            f"{size.image_size} x {size.image_size}",
            f"{size.images:,.0f}",
            str(size.measured_steps),
            f"{size.images_per_second:,.0f}",
            duration(size.seconds),
        )
        for size in estimate.sizes
    ]
    columns = ("image size", "images", "steps measured", "images/s", "estimated time")
    _print_table(columns, rows, text_columns=0)
    _print_values(
        ("images/s", f"{estimate.images_per_second:,.0f}"),
        ("peak memory", f"{estimate.peak_memory_mib:,.0f} MiB"),
        ("training", f"{duration(estimate.train_seconds)} (estimate)"),
        ("evaluation", f"{duration(estimate.evaluation_seconds)} (estimate)"),
        ("whole training", f"{duration(estimate.total_seconds)} (estimate)"),
    )


def _print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> None:
    from residua.reports.kit.tables import Table, terminal_table

    console.print(terminal_table(Table(columns, rows, text_columns)))


def _print_values(*rows: tuple[str, str]) -> None:
    for name, value in rows:
        console.print(f"{name:25}{value}")


def reading_line(done: int, total: int) -> str:
    """How far the reading of files is, for a file or a pipe."""
    return f"reading pictures: {done:,} of {total:,}"


@contextmanager
def reading_progress() -> Iterator[None]:
    """Show how far a data set is read: a bar, or a line every 30 s in a file or a pipe."""
    columns = (TextColumn("reading pictures"), BarColumn(), MofNCompleteColumn())
    next_line = time.monotonic() + LINE_INTERVAL
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=None, visible=False)

        def show_reading(done: int, total: int) -> None:
            nonlocal next_line
            progress.update(task, completed=done, total=total, visible=True)
            if hidden and time.monotonic() >= next_line:
                next_line = time.monotonic() + LINE_INTERVAL
                console.print(reading_line(done, total))

        with progress_reported(show_reading):
            yield


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar for a download: call the yielded function with the bytes so far and in total."""
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


@contextmanager
def picture_progress(total: int, shown: bool) -> Iterator[Callable[[str | None], None]]:
    """Show on standard error how many pictures are answered.

    In a file or a pipe a line now and then takes the place of the bar.

    Args:
        total: the number of pictures.
        shown: whether there is a bar; without one, only messages are printed.

    Yields:
        A function to call after each picture, with a message to print, or None.
    """
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    next_line = time.monotonic() + LINE_INTERVAL
    done = 0
    with Progress(
        *columns, console=errors, transient=True, disable=not (shown and errors.is_terminal)
    ) as progress:
        task = progress.add_task("", total=total)

        def advance(message: str | None) -> None:
            nonlocal done, next_line
            done += 1
            if message is not None:
                errors.print(escape(printable(message)))
            progress.update(task, completed=done)
            if shown and not errors.is_terminal and time.monotonic() >= next_line:
                next_line = time.monotonic() + LINE_INTERVAL
                errors.print(f"{done:,} of {total:,} pictures")

        yield advance
