"""Print the tables of docs/performance.md from the JSON files in records/bench/.

    make performance

The files are written by bench.py, profile_step.py and convolutions.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speed.results import Bench, measured_on
from speed.tables import tables

from residua.reports.kit.tables import Table, markdown_table
from residua.runs.environment import Environment

RECORDS = Path(__file__).parent.parent / "records" / "bench"


def conditions(record: Any) -> str:
    """Where and how a profile or convolutions were measured."""
    environment = Environment.model_validate(record["environment"])
    return f"{measured_on(environment)}, batch {record['batch_size']}, {record['precision']}."


def profile(record: Any) -> str:
    """The shares of a step's parts, one column for each network."""
    names = list(record["shares"])
    rows = [
        [part, *(f"{100 * record['shares'][name][part]:.1f} %" for name in names)]
        for part in record["shares"][names[0]]
    ]
    return f"{conditions(record)}\n\n{markdown_table(Table(['part of a step', *names], rows))}"


def convolutions(record: Any) -> str:
    """The speed of each convolution shape relative to a matrix product, and where it is used."""
    rows = [
        [
            f"{shape['in_channels']} to {shape['out_channels']}",
            f"{shape['kernel_size']} x {shape['kernel_size']}",
            str(shape["stride"]),
            f"{shape['image_size']} x {shape['image_size']}",
            f"{100 * shape['forward']:.0f} %",
            f"{100 * shape['backward']:.0f} %",
            ", ".join(f"{count} in {name}" for name, count in shape["uses"].items()),
        ]
        for shape in record["shapes"]
    ]
    columns = ["channels", "kernel", "stride", "input", "forward", "backward", "uses"]
    table = markdown_table(Table(columns, rows, text_columns=len(columns)))
    return f"{conditions(record)} Medians of {record['rounds']} rounds.\n\n{table}"


def sections() -> Iterator[str]:
    """The tables of all files, by file name."""
    for path in sorted(RECORDS.glob("*.json")):
        text = path.read_text(encoding="utf-8")
        record = json.loads(text)
        if "shares" in record:
            yield profile(record)
        elif "shapes" in record:
            yield convolutions(record)
        else:
            yield tables(Bench.model_validate_json(text))


if __name__ == "__main__":
    print("\n\n".join(sections()))
