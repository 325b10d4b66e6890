"""`residua sweep`."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from residua.cli.app import Overrides, app
from residua.cli.output import printable

if TYPE_CHECKING:
    from rich.console import Group

    from residua.runs.sweep import Sweep, SweepDirectory, Trial

POLL = 1.0
"""Seconds between looks at the trials."""
MAX_ROWS = 20
"""Trials that the terminal shows while they run."""
AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Words = Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=False)]


@app.command
def sweep(
    recipe: str,
    /,
    *overrides: Overrides,
    grid: Words = (),
    search: AtLeastOne | None = None,
    seeds: AtLeastOne = 1,
    prune: Annotated[bool, Parameter(negative="")] = False,
    directory: Annotated[Path | None, Parameter(name="--dir")] = None,
    workers: AtLeastOne = 1,
    cluster: Literal["slurm", "local"] | None = None,
    cluster_options: str = "",
) -> None:
    """Train a recipe with several values of its fields, and select by the holdout.

    Every trial is an ordinary run. Workers, here or on other machines, share the directory: the
    same command, or `residua sweep DIR`, starts another one, or continues what was stopped or
    killed. Needs the extra `sweep`.

    For example:

        residua sweep quickstart --data.holdout 1000 --grid optimizer.lr=0.05,0.1,0.2 --seeds 3

        residua sweep resnet26w --data.holdout 5000 --search 40 --prune --workers 2 --grid
        optimizer.weight-decay=1e-5..1e-3:log --grid augmentation.0.padding=2,4

        residua sweep runs/sweep-resnet26w --cluster slurm --workers 8 --cluster-options
        '{slurm_partition: gpu, gpus_per_node: 1, timeout_min: 240}'

    Parameters
    ----------
    recipe
        A recipe (name or file; overrides as for `train`), or the directory of a sweep.
    grid
        A field and what is tried: FIELD=VALUE,VALUE; with --search also FIELD=LOW..HIGH or
        FIELD=LOW..HIGH:log. Repeat it for further fields; all combinations are trained.
    search
        Search with this number of trials instead of training all combinations.
    seeds
        Runs of each trial, with different seeds.
    prune
        Stop trials early that are worse than the median of the others at the same epoch.
    directory
        The directory to create or join; left out: runs/sweep-NAME.
    workers
        Trials that are trained at the same time.
    cluster
        Submit the workers as jobs: to Slurm, or as processes of this machine.
    cluster_options
        Options of submitit's executor, as YAML.
    """
    from residua.errors import UserError
    from residua.integrations.optuna_sweeps import create_study, importances
    from residua.reports.sweep import trials_table, write_sweep
    from residua.runs.sweep import SweepDirectory

    if (Path(recipe) / "sweep.json").is_file():
        if grid or search or overrides:
            raise UserError(f"{recipe} is a sweep already: what it tries is not changed")
        opened = SweepDirectory.open(Path(recipe))
    else:
        defined = _define(recipe, overrides, grid, search, seeds, prune)
        path = directory or Path("runs") / f"sweep-{defined.recipe.name}"
        opened = SweepDirectory.create(path, defined)
    create_study(opened)
    if cluster is None:
        stopped = _run_local(opened, workers)
    else:
        stopped = _run_cluster(opened, cluster, workers, cluster_options)
    from residua.cli.console import console
    from residua.reports.kit.tables import terminal_table

    trials = opened.trials()
    console.print(terminal_table(trials_table(opened.sweep, trials)))
    for trial in trials:
        if trial.error:
            console.print(f"trial {trial.number}: {printable(trial.error)}", markup=False)
    page = write_sweep(opened, importances(opened))
    if stopped:
        quoted = printable(shlex.quote(str(opened.path)))
        console.print(f"Stopped. To continue: residua sweep {quoted}", markup=False)
    if (opened.path / "best.yaml").is_file():
        console.print(printable(str(opened.path / "best.yaml")), markup=False)
    console.print(printable(str(page)), markup=False)
    if stopped:
        sys.exit(130)


@app.command(name="sweep-worker", show=False)
def sweep_worker(directory: Path, /) -> None:
    """Train trials of a sweep until none is left; `residua sweep` starts this.

    Parameters
    ----------
    directory
        Of the sweep.
    """
    run_worker(directory)


def run_worker(directory: Path) -> None:
    """Train trials of a sweep until none is left or a signal asks to stop."""
    from residua.cli.console import stop_requests
    from residua.integrations.optuna_sweeps import work
    from residua.runs.sweep import SweepDirectory

    with stop_requests() as signals:
        work(SweepDirectory.open(directory), lambda: bool(signals))


def _define(
    recipe: str,
    overrides: tuple[str, ...],
    grid: tuple[str, ...],
    search: int | None,
    seeds: int,
    prune: bool,
) -> "Sweep":
    from pydantic import ValidationError

    from residua.errors import UserError
    from residua.recipes.loading import resolve
    from residua.runs.sweep import Sweep, check_sweep, parse_space

    if not grid:
        raise UserError("there is nothing to try: add --grid optimizer.lr=0.05,0.1")
    try:
        defined = Sweep(
            recipe=resolve(recipe, overrides),
            space=parse_space(list(grid)),
            seeds=seeds,
            search=search,
            prune=prune,
        )
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        raise UserError(message.removeprefix("Value error, ")) from None
    check_sweep(defined)
    return defined


def _run_local(directory: "SweepDirectory", workers: int) -> bool:
    """Run workers as processes of this machine. Returns whether a signal stopped them."""
    from residua.cli.console import stop_requests
    from residua.errors import UserError

    logs = directory.path / "workers"
    logs.mkdir(exist_ok=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = str(max(1, (cores or 1) // workers))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    processes = []
    for number in range(workers):
        with (logs / f"{os.getpid()}-{number}.log").open("w") as log:
            words = [sys.executable, "-m", "residua", "sweep-worker", str(directory.path)]
            processes.append(
                subprocess.Popen(
                    words, stdout=log, stderr=log, env=environment, start_new_session=True
                )
            )
    with stop_requests() as signals:
        told = False
        with _live(directory) as show:
            while any(process.poll() is None for process in processes):
                if signals and not told:
                    told = True
                    for process in processes:
                        process.send_signal(signal.SIGTERM)
                time.sleep(POLL)
                show()
        failed = [process for process in processes if process.returncode]
    if failed and not signals:
        last = (logs / f"{os.getpid()}-{processes.index(failed[0])}.log").read_text().strip()
        reason = last.splitlines()[-1] if last else f"exit status {failed[0].returncode}"
        raise UserError(
            f"{len(failed)} of {workers} workers failed: {reason.removeprefix('residua: ')}; "
            f"logs are in {logs}"
        )
    return bool(signals)


def _run_cluster(
    directory: "SweepDirectory", cluster: str, workers: int, cluster_options: str
) -> bool:
    """Submit workers and wait for them. Returns whether a signal ended the waiting."""
    import yaml

    from residua.cli.console import console, stop_requests
    from residua.errors import UserError
    from residua.integrations.submitit_jobs import submit

    try:
        options = yaml.safe_load(cluster_options) or {}
    except yaml.YAMLError:
        options = None
    if not isinstance(options, dict):
        raise UserError("--cluster-options are not YAML like {timeout_min: 240}")
    jobs = submit(directory.path, cluster, workers, options)
    names = ", ".join(job.job_id for job in jobs)
    console.print(f"Submitted {workers} jobs: {names}. Ctrl-C leaves them running.", markup=False)
    with stop_requests() as signals, _live(directory) as show:
        while not signals and not all(job.done() for job in jobs):
            time.sleep(POLL)
            show()
    if not signals:
        for job in jobs:
            if error := job.exception():
                reason = str(error).strip().splitlines()[-1]
                raise UserError(f"job {job.job_id} failed: {reason}")
    return bool(signals)


@contextmanager
def _live(directory: "SweepDirectory") -> Iterator[Callable[[], None]]:
    """Show the trials while they run: a table in a terminal, elsewhere a line for each that ends.

    Yields:
        A function that updates what is shown.
    """
    from rich.live import Live

    from residua.cli.console import console

    sweep = directory.sweep
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda: live.update(_progress_table(sweep, directory.trials()), refresh=True)
        return
    ended = {trial.number for trial in directory.trials() if trial.state != "running"}

    def print_ended() -> None:
        for trial in directory.trials():
            if trial.state != "running" and trial.number not in ended:
                ended.add(trial.number)
                accuracy = "" if trial.accuracy is None else f", {trial.accuracy:.2f} %"
                console.print(
                    f"trial {trial.number} ({len(ended)} of {sweep.num_trials}): "
                    f"{trial.state}{accuracy}"
                )

    yield print_ended
    print_ended()


def _progress_table(sweep: "Sweep", trials: "list[Trial]") -> "Group":
    """The running trials and the best of the others."""
    from rich.console import Group

    from residua.reports.kit.tables import terminal_table
    from residua.reports.sweep import ranked, trials_table

    running = [trial for trial in trials if trial.state == "running"]
    others = [trial for trial in ranked(trials) if trial.state != "running"]
    table = terminal_table(trials_table(sweep, [*running, *others][:MAX_ROWS]))
    ended = len(trials) - len(running)
    return Group(table, f"{ended} of {sweep.num_trials} trials ended, {len(running)} running")
