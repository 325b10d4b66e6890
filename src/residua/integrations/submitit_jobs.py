"""Workers of a sweep as jobs of a cluster, by submitit (extra `sweep`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residua.errors import UserError
from residua.integrations.optuna_sweeps import work
from residua.runs.sweep import SweepDirectory

try:
    import submitit
except ModuleNotFoundError as error:
    raise UserError(
        f"--cluster needs {error.name}, which is not installed: pip install 'residua[sweep]'"
    ) from None


class Worker:
    """A job that trains trials until none is left; submitted again where its time runs out.

    The trial that it was training is taken up from its last checkpoint.
    """

    def __call__(self, directory: str) -> None:
        """Work on the sweep in a directory."""
        work(SweepDirectory.open(Path(directory)), lambda: False)

    def checkpoint(self, directory: str) -> "submitit.helpers.DelayedSubmission":
        """What is submitted when the cluster takes the job back."""
        return submitit.helpers.DelayedSubmission(self, directory)


def submit(
    directory: Path, cluster: str, workers: int, options: Mapping[str, Any]
) -> "list[submitit.Job[None]]":
    """Submit workers.

    Args:
        directory: of the sweep.
        cluster: `slurm`, or `local` for processes of this machine.
        workers: the number of jobs.
        options: of submitit's AutoExecutor: `slurm_partition`, `timeout_min`, `gpus_per_node` ...

    Raises:
        UserError: an option is unknown, or the cluster is not there.
    """
    try:
        executor = submitit.AutoExecutor(folder=directory / "jobs", cluster=cluster)
        executor.update_parameters(name=f"residua-{directory.name}", **options)
        return [executor.submit(Worker(), str(directory)) for _ in range(workers)]
    except (RuntimeError, NameError, TypeError, ValueError, AssertionError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"no job could be submitted to {cluster}: {reason}") from None
