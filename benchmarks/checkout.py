"""A checkout of residua that is driven from outside, through its own command line."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import renames
import yaml
from run_contents import Contents, contents, leaves, log


@dataclass(frozen=True)
class Checkout:
    """A checkout, and the Python that runs it."""

    name: str
    python: str
    folder: Path | None
    """Of the checkout; None where it is installed in that Python's environment."""
    threads: int

    def run(self, *words: str) -> str:
        """Run this Python and return what it printed.

        Raises:
            RuntimeError: it failed; with the last line that it printed.
        """
        variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        variables |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        if self.folder:
            variables["PYTHONPATH"] = str(self.folder.resolve() / "src")
        command = [self.python, *words]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            printed = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
            raise RuntimeError(f"{self.name}: `{shlex.join(words)}` failed: {printed[-1]}")
        return done.stdout

    @cached_property
    def option(self) -> str:
        """The option of `residua train` for the run's directory."""
        text = self.run("-m", "residua", "train", "--help")
        (option,) = (each for each in ("--run", "--dir") if re.search(rf"{each}\b", text))
        return option

    @cached_property
    def old_names(self) -> bool:
        """Whether recipes have their old names in this checkout."""
        shown = self.run("-m", "residua", "recipes", self.recipes()[0])
        return not yaml.safe_load(shown).keys().isdisjoint(renames.FIELDS["recipe.json"])

    @cached_property
    def commit(self) -> str:
        """The commit of the source that is imported, and whether it was changed since."""
        package = self.run("-c", "import residua; print(residua.__path__[0])").strip()
        head, changes = (
            subprocess.check_output(["git", "-C", package, *words], text=True).strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"))
        )
        return f"{head}, changed" if changes else head

    def train(self, recipe: renames.Tree, run: Path, stop: bool = False) -> Contents:
        """Train a recipe and return what the run holds.

        Args:
            recipe: in new names.
            run: the directory to make for the run.
            stop: whether to stop after the first epoch, and resume.

        Raises:
            RuntimeError: the training failed.
            ValueError: the run is incomplete.
        """
        file = run.with_suffix(".yaml")
        own = renames.to_old("recipe.json", recipe) if self.old_names else recipe
        file.write_text(yaml.safe_dump(own, sort_keys=False), encoding="utf-8")
        words = ["-m", "residua", "train", str(file), self.option, str(run)]
        if stop:
            self.run(*words, "--until-epoch", "1")
            if (run / "result.json").exists() or len(log(run)) != 1:
                raise RuntimeError(f"{self.name}: the training did not stop after one epoch")
            words = ["-m", "residua", "resume", str(run)]
        self.run(*words)
        return contents(run, self.old_names)

    def recipes(self) -> list[str]:
        """The names of the built-in recipes."""
        return [line.split()[0] for line in self.run("-m", "residua", "recipes").splitlines()]

    def built_in(self, names: Sequence[str]) -> Contents:
        """The fields of built-in recipes, in new names."""
        trees = [yaml.safe_load(self.run("-m", "residua", "recipes", name)) for name in names]
        if self.old_names:
            trees = [renames.to_new("recipe.json", tree) for tree in trees]
        return leaves(dict(zip(names, trees, strict=True)))
