"""Sweeps over an Optuna study that workers on many machines share (extra `sweep`).

The study is a journal file. A worker asks it for a trial, trains it as ordinary runs and tells it
the holdout accuracy. While it trains it holds a lock on the trial's directory: a trial that counts
as running, but whose lock is free, belongs to a worker that was killed, and is taken up where it
was.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from residua.errors import UserError
from residua.runs.lock import exclusive_lock
from residua.runs.run import Run
from residua.runs.sweep import Choice, Range, Sweep, SweepDirectory, Trial, TrialFile, Values
from residua.schedules import TrainingProgress
from residua.seeding import derive_seed
from residua.training import loop
from residua.training.events import EpochFinished, Stopped

try:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from optuna.trial import FrozenTrial, TrialState, create_trial
except ModuleNotFoundError as error:
    raise UserError(
        f"a sweep needs {error.name}, which is not installed: pip install 'residua[sweep]'"
    ) from None

optuna.logging.set_verbosity(optuna.logging.ERROR)
STUDY = "sweep"
PRUNING_STARTS_AFTER = 4
"""Trials that are trained to the end before one is compared with their median."""
LOCK_WAIT = 0.05
"""Seconds between attempts to take the lock under which trials are chosen."""
StopRequest = Callable[[], bool]
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


def create_study(directory: SweepDirectory) -> None:
    """Make the study of a sweep with all its trials waiting; an existing one stays.

    A study that is missing beside trials is rebuilt from them.
    """
    with _choosing(directory):
        if directory.journal.exists():
            return
        sweep = directory.sweep
        partial = directory.journal.with_name(".journal.partial")
        partial.unlink(missing_ok=True)
        study = optuna.create_study(
            storage=_storage(partial), study_name=STUDY, direction="maximize"
        )
        begun = {trial.number: trial for trial in directory.trials()}
        waiting = list(sweep.grid()) if sweep.search is None else [{}] * sweep.num_trials
        for number in range(max(sweep.num_trials, max(begun, default=-1) + 1)):
            if number in begun:
                study.add_trial(_frozen(sweep, begun[number]))
            else:
                study.enqueue_trial(_parameters(waiting[number]))
        partial.replace(directory.journal)


def open_study(directory: SweepDirectory) -> optuna.Study:
    """The study of a sweep.

    Raises:
        UserError: the journal is damaged.
    """
    try:
        return optuna.load_study(
            storage=_storage(directory.journal),
            study_name=STUDY,
            pruner=optuna.pruners.MedianPruner(
                PRUNING_STARTS_AFTER, n_warmup_steps=max(2, directory.sweep.recipe.epochs // 5)
            ),
        )
    except (KeyError, ValueError, OSError) as error:
        raise UserError(
            f"{directory.journal} is damaged ({error}): delete it, and it is made again from the "
            "runs"
        ) from None


def work(directory: SweepDirectory, stop_requested: StopRequest) -> None:
    """Train trials until none is left or a stop is requested, which saves the running training."""
    study, sweep = open_study(directory), directory.sweep
    while not stop_requested():
        with _next_trial(study, directory) as trial:
            if trial is None:
                return
            _train_trial(study, sweep, directory, trial, stop_requested)


def importances(directory: SweepDirectory) -> dict[str, float]:
    """How much of the variance of the accuracy each field explains, summing to 1.

    By functional ANOVA (Hutter et al., ICML 2014); empty with fewer than two complete trials or
    where nothing differs.
    """
    sweep = directory.sweep
    study = optuna.create_study(direction="maximize")
    complete = [trial for trial in directory.trials() if trial.state == "complete"]
    study.add_trials([_frozen(sweep, trial) for trial in complete])
    if len({trial.accuracy for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings(action="ignore"):
        values = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {path: float(value) for path, value in values.items()}


@contextmanager
def _choosing(directory: SweepDirectory) -> Iterator[None]:
    """Let one worker at a time choose a trial."""
    while True:
        try:
            lock = exclusive_lock(directory.path)
            lock.__enter__()
        except UserError:
            time.sleep(LOCK_WAIT)
            continue
        break
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


@contextmanager
def _next_trial(study: optuna.Study, directory: SweepDirectory) -> "Iterator[optuna.Trial | None]":
    """A trial whose worker is gone, or the next waiting one, locked; None where none is left."""
    with _choosing(directory):
        chosen = _take_up(study, directory) or _ask(study, directory)
    if chosen is None:
        yield None
        return
    trial, lock = chosen
    try:
        yield trial
    finally:
        lock.__exit__(None, None, None)


def _take_up(study: optuna.Study, directory: SweepDirectory) -> tuple[optuna.Trial, Any] | None:
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        lock = _lock(directory.trial_path(frozen.number))
        if lock is not None:
            return optuna.Trial(study, frozen._trial_id), lock
    return None


def _ask(study: optuna.Study, directory: SweepDirectory) -> tuple[optuna.Trial, Any] | None:
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if not waiting:
        return None
    number = waiting[0].number
    # The sampler depends on the trial only, so one worker makes the same choices each time.
    seed = derive_seed(directory.sweep.recipe.seed, "sweep", number) % 2**32
    with warnings.catch_warnings(action="ignore"):
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    trial = study.ask()
    lock = _lock(directory.trial_path(trial.number))
    assert lock is not None, "only the worker that asks knows the number"
    return trial, lock


def _lock(path: Path) -> Any | None:
    path.mkdir(parents=True, exist_ok=True)
    lock = exclusive_lock(path)
    try:
        lock.__enter__()
    except UserError:
        return None
    return lock


def _train_trial(
    study: optuna.Study,
    sweep: Sweep,
    directory: SweepDirectory,
    trial: optuna.Trial,
    stop_requested: StopRequest,
) -> None:
    number = trial.number
    file = directory.trial_file(number) or TrialFile(number=number, values=_suggest(sweep, trial))
    directory.write_trial(file)
    for seed in range(sweep.seeds):
        if file.pruned or file.error:
            break
        try:
            outcome = _train_run(sweep, directory, trial, file, seed, stop_requested)
        except UserError as error:
            file = file.replace(error=str(error)[:10_000])
        else:
            if outcome == "stopped":
                return
            file = file.replace(pruned=outcome == "pruned")
        directory.write_trial(file)
    if file.error:
        study.tell(trial, state=TrialState.FAIL)
    elif file.pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        ended = directory._trial(number, sweep.seeds)
        study.tell(trial, ended.accuracy)


def _train_run(
    sweep: Sweep,
    directory: SweepDirectory,
    trial: optuna.Trial,
    file: TrialFile,
    seed: int,
    stop_requested: StopRequest,
) -> str:
    """Train or continue one run. Returns complete, pruned or stopped."""
    path = directory.run_path(file.number, seed)
    pruned = False

    def should_stop(_: TrainingProgress) -> bool:
        return pruned or stop_requested()

    if (path / "recipe.json").is_file():
        if (path / "result.json").is_file():
            return "complete"
        events = loop.resume(path, should_stop)
        reports = {record.epoch: record.holdout_accuracy for record in Run.open(path).log}
    else:
        recipe = sweep.trial_recipe(file.number, file.values, seed)
        events, reports = loop.train(recipe, path, should_stop), {}
    for event in events:
        if isinstance(event, EpochFinished):
            reports[event.record.epoch] = event.record.holdout_accuracy
            if seed == 0:
                _report(trial, reports)
                pruned = sweep.prune and trial.should_prune()
        elif isinstance(event, Stopped):
            return "pruned" if pruned else "stopped"
    return "complete"


def _report(trial: optuna.Trial, accuracies: dict[int, float | None]) -> None:
    """Tell the study the accuracies that it does not have yet."""
    known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    for epoch, accuracy in accuracies.items():
        if accuracy is not None and epoch not in known:
            trial.report(accuracy, epoch)


def _storage(path: Path) -> JournalStorage:
    lock = JournalFileOpenLock(str(path))
    with warnings.catch_warnings(action="ignore"):
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _suggest(sweep: Sweep, trial: optuna.Trial) -> dict[str, Any]:
    """The values of a trial, by the study's sampler where they are not fixed."""
    for path, space in sweep.space.items():
        if isinstance(space, Choice):
            trial.suggest_categorical(path, [json.dumps(value) for value in space.values])
        elif space.integer:
            trial.suggest_int(path, int(space.low), int(space.high), log=space.log)
        else:
            trial.suggest_float(path, space.low, space.high, log=space.log)
    return dict(_values(sweep, trial.params))


def _values(sweep: Sweep, parameters: dict[str, Any]) -> Values:
    return {
        path: json.loads(value) if isinstance(sweep.space[path], Choice) else value
        for path, value in parameters.items()
    }


def _parameters(values: Values) -> dict[str, Any]:
    """The values of a grid as Optuna has them: choices are JSON texts, which may be lists too."""
    return {path: json.dumps(value) for path, value in values.items()}


def _distributions(sweep: Sweep) -> dict[str, BaseDistribution]:
    return {path: _distribution(space) for path, space in sweep.space.items()}


def _distribution(space: Choice | Range) -> BaseDistribution:
    if isinstance(space, Choice):
        return CategoricalDistribution([json.dumps(value) for value in space.values])
    if space.integer:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _frozen(sweep: Sweep, trial: Trial) -> FrozenTrial:
    """A trial of the study from the files of its runs."""
    parameters = {
        path: json.dumps(value) if isinstance(sweep.space[path], Choice) else value
        for path, value in trial.values.items()
    }
    ended = trial.state in ("complete", "pruned")
    return create_trial(
        state=STATES[trial.state],
        value=trial.accuracy if ended else None,
        params=parameters,
        distributions=_distributions(sweep),
        intermediate_values=trial.curve,
    )
