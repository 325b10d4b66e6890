"""Print the table of recipes with published and measured figures, from records/ alone.

    make records            prints the table that the README holds

A record is a folder records/DATE-RECIPE/ with one finished run (or several, one a seed) below it.
"""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from residua import recipes
from residua.published import SYSTEMS

RECORDS = Path(__file__).parent.parent / "records"
HEADER = [
    "recipe", "published, %", "measured last, %", "measured best, %", "runs", "epochs",
    "training, s", "hardware", "record",
]  # fmt: skip


def published(name: str) -> str:
    """The published test accuracy in percent; a dash for a recipe of our own."""
    return SYSTEMS[name].headline if name in SYSTEMS else "–"


def finished(name: str) -> dict[str, list[Path]]:
    """The finished runs of a recipe, by record."""
    found: dict[str, list[Path]] = {}
    for result in sorted(RECORDS.glob("*/**/result.json")):
        if json.loads(result.read_text())["recipe"] == name:
            record = result.relative_to(RECORDS).parts[0]
            found.setdefault(record, []).append(result.parent)
    return found


def spread(values: list[float], digits: int = 2) -> str:
    """Mean +- sample deviation, or the one value."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def cells(name: str, record: str, runs: list[Path]) -> list[str]:
    """One row of the table."""
    results = [json.loads((run / "result.json").read_text()) for run in runs]
    where = json.loads((runs[0] / "environment.json").read_text())
    hardware = where["device"]
    if hardware.startswith("cpu"):
        hardware = f"{where['processor']}, {where['threads']} threads"
    views = " (mirrored views)" if results[0]["views"] == "mirrored" else ""
    return [
        f"`{name}`",
        published(name),
        spread([result["last"]["test_accuracy"] for result in results]) + views,
        spread([result["best"]["test_accuracy"] for result in results]) + views,
        str(len(runs)),
        f"{results[0]['epochs']} of {results[0]['epochs_planned']}",
        spread([result["train_seconds"] for result in results], 0),
        hardware,
        f"[{record}](records/{record}/)",
    ]


def rows() -> Iterable[list[str]]:
    """One row for every record of a recipe; one of dashes for a recipe without."""
    for name in recipes.names():
        if not (found := finished(name)):
            yield [f"`{name}`", published(name), *["–"] * (len(HEADER) - 2)]
        for record, runs in found.items():
            yield cells(name, record, runs)


def table() -> str:
    """The whole table, in Markdown."""
    lines: list[Any] = [HEADER, ["---"] * len(HEADER), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table())
