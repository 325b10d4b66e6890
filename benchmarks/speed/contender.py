"""The near side of a contender: starting its process, and asking it for laps."""

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
from speed.figures import Lap, Start

PATIENCE = 20
"""Seconds that a process has to end in, once it is told to."""


@dataclass(frozen=True)
class Contender:
    """Someone who takes part in a race: a program that calls `serve`."""

    name: str
    does: str
    """In a sentence."""
    program: tuple[str, ...]
    """What the Python interpreter is given."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the race's recipe that are different for it."""
    restarts: bool = True
    """Whether its warm start is of interest."""

    def given(self, changes: Mapping[str, Any]) -> "Contender":
        """The same, with other fields of the recipe."""
        return replace(self, changes=changes)

    @classmethod
    def of(cls, program: Path) -> "Contender":
        """A file of Python that calls `serve`; the first line of its docstring says what it does.

        Raises:
            UserError: it cannot be read.
        """
        try:
            said = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8")))
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{program}: {error}") from None
        does = (said or program.name).splitlines()[0].rstrip(".")
        return cls(program.stem, does, (str(program),))


OURS = Contender(
    "ours",
    "the loop of `residua train`: channels_last, resident images, batched augmentation",
    ("-m", "speed.ours"),
)
COMPILED = Contender(
    "compiled",
    "the same with `compile: true`",
    ("-m", "speed.ours"),
    changes={"compile": True},
)
CUDA_GRAPH_MODES = Contender(
    "graphs",
    "the same with `compile: reduce-overhead`, which records CUDA graphs",
    ("-m", "speed.ours"),
    changes={"compile": "reduce-overhead"},
)
BFLOAT16 = Contender(
    "bfloat16",
    "ours with `precision: bfloat16`, in which this processor multiplies; coarser than the others",
    ("-m", "speed.ours"),
    changes={"precision": "bfloat16"},
)
PLAIN = Contender(
    "plain",
    "an eager NCHW loop with per-image transforms in a DataLoader of 4 workers",
    ("-m", "speed.plain"),
)
INPUT = Contender(
    "input",
    "residua's input pipeline alone, with the recipe's own augmentation",
    ("-m", "speed.input"),
    restarts=False,
)
AUGMENTER = replace(INPUT, name="ours", does="residua's input pipeline alone")
PRODUCT = Contender(
    "product",
    "a product of large square matrices",
    ("-m", "speed.product"),
    restarts=False,
)


class Process:
    """A contender that has taken its first step and waits."""

    def __init__(
        self, contender: Contender, process: subprocess.Popen[str], log: IO[bytes]
    ) -> None:
        self.contender, self._process, self._log = contender, process, log
        self.start = Start.model_validate_json(self._answer())

    def lap(self, warm: int, steps: int) -> Lap:
        """Take steps, untimed, then timed.

        Raises:
            UserError: the process broke down.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{warm} {steps}\n")
        self._process.stdin.flush()
        return Lap.model_validate_json(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip().splitlines()
            raise UserError(f"{self.contender.name} broke down: {said[-1] if said else 'no word'}")
        return line


@contextmanager
def started(contender: Contender, recipe: Recipe, cache: Path) -> Iterator[Process]:
    """A contender's process, from its first step until it is told to end.

    Args:
        contender: who.
        recipe: what to train.
        cache: the directory that keeps what is compiled.

    Raises:
        UserError: it broke down.
    """
    recipe = recipe.model_copy(update=dict(contender.changes))
    words = [sys.executable, *contender.program, recipe.model_dump_json(), str(time.monotonic())]
    with (
        TemporaryFile() as log,
        subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache)},
        ) as process,
    ):
        try:
            yield Process(contender, process, log)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
