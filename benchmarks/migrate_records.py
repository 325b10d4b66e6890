"""Translate the files of records/ from the names of commit 99f4eba to the new names.

    python benchmarks/migrate_records.py [FOLDER]

Translates recipe.json, data.json, result.json and the benchmarks in bench/, renames evidence/ to
artifacts/, and deletes what `residua report` draws: report.html and figures/. Numbers are not
changed, and the script checks that for each file. Commands in environment.json and the output of
consoles stay as they were. A second call changes nothing.
"""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import renames

RECORDS = Path(__file__).parent.parent / "records"
BENCH_FIELDS = {
    "product_flops": "matmul_flops",
    "races": "training",
    "augmentations": "augmentation",
    "racers": "results",
    "does": "description",
    "cold": "cold_start",
    "warm": "warm_start",
    "first": "first_step",
    "laps": "samples",
    "waited": "wait_seconds",
    "memory_mib": "peak_memory_mib",
    "narrow": "in_channels",
    "wide": "out_channels",
    "kernel": "kernel_size",
    "side": "image_size",
    "used": "uses",
    "batch normalisation": "batch norm",
    "optimiser": "optimizer",
    "norms and tally": "gradient norms, metrics",
}
"""Fields of the JSON files in bench/: old name to new name."""
BENCH_NAMES = {"product": "matmul", "graphs": "cuda_graphs"}
"""Names of entries: old name to new name."""


def translate_bench(tree: Any) -> Any:
    """Translate a parsed JSON file of bench/, except its environment."""
    if isinstance(tree, list):
        return [translate_bench(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        BENCH_FIELDS.get(key, key): BENCH_NAMES.get(value, value)
        if key == "name"
        else value
        if key == "environment"
        else translate_bench(value)
        for key, value in tree.items()
    }


def numbers(tree: Any) -> Counter[float]:
    """All numbers in a tree, with their counts."""
    if isinstance(tree, dict | list):
        values = tree.values() if isinstance(tree, dict) else tree
        return sum(map(numbers, values), Counter())
    is_number = isinstance(tree, int | float) and not isinstance(tree, bool)
    return Counter([tree] if is_number else [])


def translate_file(path: Path, translate: Callable[[Any], Any], indent: int) -> bool:
    """Translate a JSON file in place; whether it changed.

    Raises:
        ValueError: the translation would change a number.
    """
    old = json.loads(path.read_text(encoding="utf-8"))
    new = translate(old)
    if numbers(new) != numbers(old):
        raise ValueError(f"{path}: its numbers would change")
    if new == old:
        return False
    path.write_text(json.dumps(new, indent=indent) + "\n", encoding="utf-8")
    return True


def migrate(folder: Path) -> dict[str, int]:
    """Migrate all records in a folder; the number of changes of each kind."""
    changes: Counter[str] = Counter()
    documents: tuple[renames.Document, ...] = ("recipe.json", "data.json", "result.json")
    for document in documents:
        for path in sorted(folder.rglob(document)):
            changes[document] += translate_file(path, partial(renames.to_new, document), indent=2)
    for path in sorted(folder.glob("bench/*.json")):
        changes["bench"] += translate_file(path, translate_bench, indent=1)
    for old, new in renames.FOLDERS.items():
        for path in sorted(folder.rglob(old)):
            path.rename(path.with_name(new))
            changes[new] += 1
    for path in sorted(folder.rglob("report/report.html")):
        path.unlink()
        changes["deleted pages"] += 1
    for path in sorted(folder.rglob("report/figures")):
        shutil.rmtree(path)
        changes["deleted figures"] += 1
    return dict(changes)


if __name__ == "__main__":
    for kind, count in migrate(Path(sys.argv[1]) if sys.argv[1:] else RECORDS).items():
        print(f"{kind}: {count}")
