"""Print the tables of docs/performance.md, from records/bench/ alone.

    make performance

A record is a JSON file that `residua bench`, `profile_step.py` or `convolutions.py` wrote.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from speed import Bench, tables

RECORDS = Path(__file__).parent.parent / "records" / "bench"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def where(record: Any) -> str:
    """What a profile or a table of shapes was measured on."""
    environment = record["environment"]
    device = environment["device"]
    machine = f"{environment['processor']}, {environment['threads']} threads"
    return (
        f"{machine if device.startswith('cpu') else device}, torch "
        f"{environment['packages']['torch']}, {environment['started'][:10]}, batch "
        f"{record['batch_size']}, {record['precision']}."
    )


def profile(record: Any) -> str:
    """Where the time of a step goes, a column for each system."""
    names = list(record["shares"])
    rows = [
        [part, *(f"{100 * record['shares'][name][part]:.1f} %" for name in names)]
        for part in record["shares"][names[0]]
    ]
    return f"{where(record)}\n\n{markdown(['', *names], rows)}"


def convolutions(record: Any) -> str:
    """How fast each shape is beside a matrix product, and where the shape is used."""
    rows = [
        [
            f"{shape['narrow']} to {shape['wide']}",
            f"{shape['kernel']} x {shape['kernel']}",
            str(shape["stride"]),
            f"{shape['side']} x {shape['side']}",
            f"{100 * shape['forward']:.0f} %",
            f"{100 * shape['backward']:.0f} %",
            ", ".join(f"{name} {count}" for name, count in shape["used"].items()),
        ]
        for shape in record["shapes"]
    ]
    header = ["channels", "kernel", "stride", "image", "forward", "backward", "where, how often"]
    return f"{where(record)} Medians of {record['rounds']} rounds.\n\n{markdown(header, rows)}"


def sections() -> Iterable[str]:
    """The tables of every record, in the order of their names."""
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
