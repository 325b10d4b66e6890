"""The entries of a benchmark, and the processes that run them."""

import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from residua.errors import UserError
from residua.recipes.recipe import Recipe
from speed.results import Sample, Startup

EXIT_TIMEOUT = 20
"""Seconds after which a process that was told to exit is killed."""
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """A program that takes part in a comparison; it calls `speed.worker.serve`."""

    name: str
    description: str
    program: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Recipe fields that differ from the comparison's recipe, by dotted path."""
    restarts: bool = True
    """Whether to measure a warm start too."""

    @classmethod
    def from_file(cls, program: Path) -> "Entry":
        """An entry from a Python file, described by the first line of its docstring.

        Raises:
            UserError: the file cannot be read or parsed.
        """
        try:
            docstring = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8")))
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{program}: {error}") from None
        description = (docstring or program.name).splitlines()[0].rstrip(".")
        return cls(program.stem, description, program)


OURS = Entry(
    "ours",
    "the loop of `residua train`: channels_last, resident images, batched augmentation",
    HERE / "ours.py",
)
COMPILED = replace(
    OURS,
    name="compiled",
    description="the same with `compile: true`",
    changes={"compile": True},
)
CUDA_GRAPHS = replace(
    OURS,
    name="cuda_graphs",
    description="the same with `compile: reduce-overhead`, which records CUDA graphs",
    changes={"compile": "reduce-overhead"},
)
BFLOAT16 = replace(
    OURS,
    name="bfloat16",
    description="ours with `precision: bfloat16`, which this processor supports natively; "
    "less precise than the others",
    changes={"precision": "bfloat16"},
)
PLAIN = Entry(
    "plain",
    "an eager NCHW loop with per-image transforms in a DataLoader of 4 workers",
    HERE / "plain.py",
)
INPUT = Entry(
    "input",
    "residua's input pipeline alone, with the recipe's own augmentation",
    HERE / "input_pipeline.py",
    restarts=False,
)
AUGMENTER = replace(INPUT, name="ours", description="residua's input pipeline alone")
MATMUL = Entry(
    "matmul",
    "a product of large square matrices",
    HERE / "matmul.py",
    restarts=False,
)


class Worker:
    """The running process of an entry, after its first step."""

    def __init__(self, entry: Entry, process: subprocess.Popen[str], log: IO[bytes]) -> None:
        self.entry, self._process, self._log = entry, process, log
        self.startup = Startup.model_validate_json(self._read())

    def sample(self, warmup_steps: int, steps: int) -> Sample:
        """Take untimed steps, then timed ones.

        Raises:
            UserError: the process has failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{warmup_steps} {steps}\n")
        self._process.stdin.flush()
        return Sample.model_validate_json(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            errors = self._log.read().decode(errors="replace").strip().splitlines()
            raise UserError(f"{self.entry.name} failed: {errors[-1] if errors else 'no message'}")
        return line


@contextmanager
def start_worker(entry: Entry, recipe: Recipe, cache: Path) -> Iterator[Worker]:
    """Start the process of an entry, wait for its first step, and end it on exit.

    Args:
        entry: the entry.
        recipe: what to train.
        cache: the directory for compiled code.

    Raises:
        UserError: the process has failed.
    """
    recipe = recipe.replace(**entry.changes)
    command = [
        sys.executable,
        "-P",
        str(entry.program),
        recipe.model_dump_json(),
        str(time.monotonic()),
    ]
    search_path = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {
        "PYTHONPATH": os.pathsep.join(search_path),
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
    }
    with (
        TemporaryFile() as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **variables},
        ) as process,
    ):
        try:
            yield Worker(entry, process, log)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(EXIT_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
