"""Train the same recipes with two checkouts of residua, and compare weights, logs and speed.

    python benchmarks/compare_checkouts.py OLD_PYTHON NEW_PYTHON --output records/DATE-NAME

Each side is the Python of a virtual environment in which its checkout is installed; a checkout that
is not installed there is named by --old-checkout or --new-checkout. Each side trains through its
own command line, in processes of its own, with the same number of threads. The recipes, in new
names, are in compare_recipes.yaml; a side from before the renames gets them in its old names
(renames.py), and what it writes is translated before it is compared.

Compared bit for bit: every tensor in checkpoints/ and artifacts/, the metadata beside them,
log.jsonl, result.json, data.json and recipe.json, without measured times and memory; and all
built-in recipes, field by field. Whatever only the new side has is a difference, unless --added
names it: `--added '* metadata optimizer'`. Speed is measured in pairs, old and new one after the
other: the ratio of the median images/s of their epochs, without the first epoch. Writes
comparison.md and comparison.json. Exits with 1 where anything differs.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import renames
import torch
import yaml
from checkout import Checkout
from run_contents import Contents, first_difference, log

RECIPES = Path(__file__).with_name("compare_recipes.yaml")
STOPPED = "stopped"
"""The training that is stopped after its first epoch, and resumed."""
EXPECTED: dict[str, Callable[[Contents], bool]] = {
    "roll_back": lambda run: run.get("result.json rollbacks", 0) > 0,
    "resnet44": lambda run: run["result.json target_epoch"] is not None,
    "plateau": lambda run: run["log.jsonl 5.lr"] < run["log.jsonl 1.lr"],
    "wrn28_10": lambda run: run["result.json epochs"] < run["result.json epochs_planned"],
}
"""What has to happen in a training: divergence, its target, a reduced rate, an early stop."""


@dataclass(frozen=True)
class Outcome:
    """What came out of one comparison."""

    name: str
    tensors: int = 0
    values: int = 0
    difference: str | None = None
    speeds: tuple[float, float] | None = None
    """Of the old and the new side, in images/s; None where training was not timed."""

    @property
    def verdict(self) -> str:
        """Whether the sides are equal, or the first difference."""
        return f"differs: {self.difference}" if self.difference else "equal bit for bit"


class Comparison:
    """Comparisons of two checkouts.

    Raises:
        RuntimeError: one of them does not run at all.
    """

    def __init__(self, sides: Sequence[Checkout], added: Sequence[str], home: Path) -> None:
        self.sides, self.added, self.home = sides, added, home
        self.names = ["old names" if side.old_names else "new names" for side in sides]
        self.machine: dict[str, str | int] = {}
        """Processor, threads and torch; known once a training was compared."""

    def outcomes(self, only: Sequence[str], pairs: int) -> Iterator[Outcome]:
        """Compare built-in recipes, trainings and, in pairs, speeds; or only what `only` names."""
        recipes = yaml.safe_load(RECIPES.read_text(encoding="utf-8"))
        if not only:
            yield self.built_in()
        for section, times in (("trainings", 1), ("speed", pairs)):
            for name, recipe in recipes[section].items():
                for _ in range(times if not only or name in only else 0):
                    yield self.trained({"name": name, **recipe}, timed=section == "speed")

    def built_in(self) -> Outcome:
        """Compare the old side's built-in recipes with those of the same names."""
        try:
            names = self.sides[0].recipes()
            old, new = (side.built_in(names) for side in self.sides)
        except RuntimeError as error:
            return Outcome("built-in recipes", difference=str(error))
        found = first_difference(old, new, self.added)
        return Outcome("built-in recipes", values=len(old), difference=found)

    def trained(self, recipe: renames.Tree, timed: bool) -> Outcome:
        """Train one recipe on one side after the other and compare; equal runs are deleted."""
        name = recipe["name"]
        runs = [self.home / f"{name}-{side.name}" for side in self.sides]
        try:
            old, new = (
                side.train(recipe, run, stop=name == STOPPED)
                for side, run in zip(self.sides, runs, strict=True)
            )
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            return Outcome(name, difference=str(error))
        self.machine = {key.split()[1]: old[key] for key in old if key.startswith("environment")}
        found = first_difference(old, new, self.added)
        if name in EXPECTED and not EXPECTED[name](old):
            found = "equal or not, what the recipe is there for did not happen"
        rates = [[line["images_per_second"] for line in log(run)] for run in runs]
        tensors = sum(isinstance(value, torch.Tensor) for value in old.values())
        if found is None:
            for run in runs:
                shutil.rmtree(run)
        first, second = (statistics.median(each[1:] or each) for each in rates)
        speeds = (first, second) if timed else None
        return Outcome(name, tensors, len(old) - tensors, found, speeds)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def page(comparison: Comparison, outcomes: Sequence[Outcome]) -> str:
    """The outcomes in Markdown."""
    about: list[list[object]] = [
        [side.name, side.commit, names]
        for side, names in zip(comparison.sides, comparison.names, strict=True)
    ]
    about += [[key, value, ""] for key, value in comparison.machine.items()]
    about += [["only on the new side", pattern, ""] for pattern in comparison.added]
    rows = [[each.name, each.tensors, each.values, each.verdict] for each in outcomes]
    pairs, ratios = [], defaultdict[str, list[float]](list)
    for each in outcomes:
        if each.speeds:
            old, new = each.speeds
            pairs.append([each.name, f"{old:.1f}", f"{new:.1f}", f"{new / old:.3f}"])
            ratios[each.name].append(new / old)
    for name, found in ratios.items():
        pairs.append([f"{name}, median", "", "", f"{statistics.median(found):.3f}"])
    parts = ["# Two checkouts compared", table(["what", "", ""], about)]
    parts += [table(["training", "tensors", "other values", "outcome"], rows)]
    if pairs:
        parts.append(table(["pair", "old, images/s", "new, images/s", "new / old"], pairs))
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Compare, print an outcome a line, and write both files; 1 where anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old_python", help="the Python of the old side")
    parser.add_argument("new_python", help="the Python of the new side")
    parser.add_argument("--old-checkout", type=Path, help="put its src on the old side's path")
    parser.add_argument("--new-checkout", type=Path, help="put its src on the new side's path")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--only", nargs="+", default=[], help="names of compare_recipes.yaml")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of each timed recipe")
    parser.add_argument("--threads", type=int, default=1, help="threads of each training")
    parser.add_argument(
        "--added", nargs="+", default=[], help="patterns of what is new, as `* metadata NAME`"
    )
    asked = parser.parse_args()
    sides = (
        Checkout("old", asked.old_python, asked.old_checkout, asked.threads),
        Checkout("new", asked.new_python, asked.new_checkout, asked.threads),
    )
    home = Path(tempfile.mkdtemp(prefix="compare-checkouts-"))
    try:
        comparison = Comparison(sides, asked.added, home)
    except RuntimeError as error:
        parser.error(str(error))
    outcomes = []
    for outcome in comparison.outcomes(asked.only, asked.pairs):
        outcomes.append(outcome)
        speeds = "; {:.1f} and {:.1f} images/s".format(*outcome.speeds) if outcome.speeds else ""
        print(f"{outcome.name}: {outcome.verdict}{speeds}", flush=True)
    record = {
        "commits": {side.name: side.commit for side in sides},
        "machine": comparison.machine,
        "added": comparison.added,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    asked.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2) + "\n"
    (asked.output / "comparison.json").write_text(text, encoding="utf-8")
    (asked.output / "comparison.md").write_text(page(comparison, outcomes), encoding="utf-8")
    if any(outcome.difference for outcome in outcomes):
        print(f"The runs that differ are in {home}.")
        return 1
    shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
