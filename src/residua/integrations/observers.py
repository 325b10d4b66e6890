"""Observers that pass a run on while it trains: to the Hub (`publish`), to a drive (`sync`).

The training process only stages snapshots, as hard links, and starts a process that sends them. It
never waits for that process, and that process may hang or be killed.
"""

import importlib.util
import os
import subprocess
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from residua.recipes.publish import Publish
from residua.recipes.recipe import Recipe
from residua.runs import mirror
from residua.runs.outbox import Backoff, Outbox
from residua.runs.run import Run
from residua.training.events import (
    EpochFinished,
    Event,
    Finished,
    Observer,
    Started,
    StepFinished,
    Stopped,
    observe,
)
from residua.training.loop import StopCondition, never, train

Say = Callable[[str], None]
"""Shows a line to the user."""
PUBLISH_FOLDER = "publish"
"""Of the snapshots that go to the Hub, in the run."""


def recipe_observers(recipe: Recipe, say: Say | None = None) -> tuple[Observer, ...]:
    """The observers that a recipe asks for.

    Args:
        recipe: of the training.
        say: shows what fails, and at the end what is left; None: as warnings.

    Raises:
        UserError: one needs an extra that is not installed.
    """
    observers: list[Observer] = [*_sending_observers(recipe, say or _warn)]
    if recipe.tensorboard:
        # Imported here: it needs an optional dependency.
        from residua.integrations.tensorboard import TensorBoardWriter  # noqa: PLC0415

        observers.append(TensorBoardWriter())
    return tuple(observers)


def _sending_observers(recipe: Recipe, say: Say) -> "tuple[SendingObserver, ...]":
    observers: list[SendingObserver] = []
    if recipe.sync is not None:
        observers.append(SyncObserver(recipe.sync, say))
    if recipe.publish is not None and recipe.publish.repository is not None:
        observers.append(PublishObserver(recipe.publish, say))
    return tuple(observers)


def fit(recipe: Recipe, path: Path | str, should_stop: StopCondition = never) -> Run:
    """Train a new network to the end, as a run in a directory, with the recipe's observers.

    Raises:
        UserError: what the user has to change.
    """
    for _ in observe(train(recipe, path, should_stop), *recipe_observers(recipe)):
        pass
    return Run.open(Path(path))


def send_pending(run: Run, say: Say | None = None) -> None:
    """Continue what a finished training has left to be sent, in the background."""
    for observer in _sending_observers(run.recipe, say or _warn):
        observer.send_pending(run)


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=2)


class SendingObserver(ABC):
    """Stages snapshots of a run, keeps a process that sends them, and says once what fails."""

    folder: str
    """Of the outbox, in the run."""

    def __init__(self, say: Say, first_delay: float = Backoff.first) -> None:
        self._say, self._first_delay = say, first_delay
        self._run: Run | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._said: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Handle an event of a training."""
        if isinstance(event, StepFinished):
            return
        if isinstance(event, Started):
            self._run = event.run
        if self._run is None:
            return
        outbox = Outbox(self._run.path / self.folder)
        label = self.due(event)
        try:
            if label is not None and self.accepts(self._run):
                dropped = outbox.stage(
                    self._run.path, self.files(self._run), label, self.superseded
                )
                if dropped:
                    self._say_once("dropped", f"{self.name}: the oldest snapshots were dropped")
            if label is not None or isinstance(event, Started):
                self.send_pending(self._run)
        except OSError as error:
            reason = f"{error.strerror or error}"
            self._say_once(reason, f"{self.name}: a snapshot could not be staged: {reason}")
        self._report(outbox, event)

    @property
    @abstractmethod
    def name(self) -> str:
        """What is done, in words."""

    @property
    @abstractmethod
    def superseded(self) -> str:
        """The start of the labels of waiting snapshots that a new one takes the place of."""

    @abstractmethod
    def due(self, event: Event) -> str | None:
        """The label of the snapshot that is due at an event; None where none is."""

    @abstractmethod
    def files(self, run: Run) -> Sequence[str]:
        """The files of a snapshot, relative to the run."""

    @abstractmethod
    def command(self, run: Run) -> list[str]:
        """The module that sends, and its arguments."""

    def accepts(self, _: Run) -> bool:
        """Whether there is anything to stage in this run."""
        return True

    def send_pending(self, run: Run) -> None:
        """Start the process that sends, where something waits."""
        if Outbox(run.path / self.folder).pending:
            self._start(run)

    def _start(self, run: Run) -> None:
        """Start the process that sends, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        options = ["--training", str(os.getpid()), "--first-delay", str(self._first_delay)]
        # Not the training's: its session (Ctrl-C, closed terminals), its GPU, its threads.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", *self.command(run), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    def _report(self, outbox: Outbox, event: Event) -> None:
        failing = outbox.status.failing
        if failing:
            left = f"tried again meanwhile, see {outbox.log_path}"
            self._say_once(failing, f"{self.name} fails, the training continues: {failing}; {left}")
        elif self._process is not None and self._process.poll() not in (None, 0):
            self._say_once("ended", f"{self.name}: its process ended, see {outbox.log_path}")
        if isinstance(event, Finished | Stopped) and (pending := outbox.pending):
            self._say(
                f"{self.name} goes on in the background ({len(pending)} left), "
                f"see {outbox.log_path}"
            )

    def _say_once(self, key: str, line: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._say(line)


class SyncObserver(SendingObserver):
    """Keeps a copy of the run in a folder up to date.

    Args:
        folder: the recipe's `sync`.
        say: shows a line.
        first_delay: seconds before a failed copy is tried again.
    """

    folder = mirror.FOLDER
    superseded = ""  # Only the latest state matters.

    def __init__(self, folder: Path, say: Say, first_delay: float = Backoff.first) -> None:
        super().__init__(say, first_delay)
        self._sync = folder

    @property
    def name(self) -> str:
        """The copy and its folder."""
        return f"the copy in {self._sync}"

    def due(self, event: Event) -> str | None:
        """At the start, after each epoch, at a stop and at the end."""
        match event:
            case Started(step=step):
                return f"step-{step}"
            case EpochFinished(record):
                return f"epoch-{record.epoch}"
            case Stopped(step):
                return f"stop-{step}"
            case Finished():
                return "final"
        return None

    def files(self, run: Run) -> Sequence[str]:
        """All but the report."""
        return mirror.run_files(run.path)

    def accepts(self, run: Run) -> bool:
        """Whether this run is not the copy itself."""
        return mirror.copy_path(self._sync, run.path).resolve() != run.path.resolve()

    def command(self, run: Run) -> list[str]:
        """`residua.runs.mirror`."""
        copy = mirror.copy_path(self._sync, run.path)
        return ["residua.runs.mirror", str(run.path.absolute()), str(copy)]


class PublishObserver(SendingObserver):
    """Uploads the run to the Hub.

    Args:
        publish: the recipe's `publish`.
        say: shows a line.
        first_delay: seconds before a failed upload is tried again.
    """

    folder = PUBLISH_FOLDER
    superseded = "best-"

    def __init__(self, publish: Publish, say: Say, first_delay: float = Backoff.first) -> None:
        super().__init__(say, first_delay)
        self._publish = publish

    @property
    def name(self) -> str:
        """The upload and its repository."""
        return f"publishing to {self._publish.repository}"

    def due(self, event: Event) -> str | None:
        """Every so many epochs, at best epochs, and at the end."""
        match event:
            case EpochFinished(record) if record.epoch % self._publish.every == 0:
                return f"epoch-{record.epoch}"
            case EpochFinished(record, best=True) if self._publish.best:
                return f"best-{record.epoch}"
            case Finished():
                return "final"
        return None

    def files(self, run: Run) -> Sequence[str]:
        """What the repository and its report are made from; of the checkpoints, two."""
        latest = {run.best_checkpoint, *run.checkpoints[-1:]}
        unused = {path for path in run.checkpoint_dir.iterdir() if path not in latest}
        return [name for name in mirror.run_files(run.path) if run.path / name not in unused]

    def command(self, run: Run) -> list[str]:
        """`residua.integrations.hub.worker`."""
        return ["residua.integrations.hub.worker", str(run.path.absolute())]

    def _start(self, run: Run) -> None:
        if importlib.util.find_spec("huggingface_hub") is None:
            line = "needs huggingface_hub: pip install 'residua[hub]', then `residua push RUN`"
            self._say_once("extra", f"{self.name} {line}")
            return
        super()._start(run)
