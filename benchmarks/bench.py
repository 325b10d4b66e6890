"""Compare residua's training speed with other training loops and with a matrix product.

    python benchmarks/bench.py --help
    make bench                          beside all other libraries, into records/bench

Prints ratios. Writes seconds to a JSON file, whose path is the last line of the output. Nothing
else should run on the machine meanwhile.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from speed.benchmark import bench, built_in_entries, save_bench
from speed.comparison import BenchConfig
from speed.entry import Entry
from speed.systems import SYSTEMS
from speed.tables import tables

from residua.errors import UserError

Count = Annotated[int, Parameter(validator=Number(gte=1))]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

app = App(name="bench.py", help=__doc__, result_action="return_value")


@app.default
def run(
    *,
    systems: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    rounds: Count = 3,
    steps: Count | None = None,
    batch_size: Annotated[int, Parameter(validator=Number(gte=2))] = 128,
    device: str = "auto",
    precision: Precision = "auto",
    compiled: bool = True,
    also: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    augmenters: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    output: Path = Path("runs/bench"),
) -> None:
    """Run the benchmark.

    Parameters
    ----------
    systems
        Recipes, recipe files, or resnet20; default: resnet20 and four published networks.
    rounds
        Samples of each entry.
    steps
        Steps of a sample; default: as many as take about three seconds.
    batch_size
        Images per step.
    device
        The device to train on.
    precision
        Of convolutions; auto is bfloat16 on a GPU and float32 elsewhere.
    compiled
        Whether to include a compiled network.
    also
        Further programs that train; benchmarks/lightning_trainer.py is one.
    augmenters
        Programs that augment, to compare residua's augmentation with.
    output
        The folder for the JSON file.
    """
    result = bench(
        systems or SYSTEMS,
        [*built_in_entries(device, compiled), *map(Entry.from_file, also or ())],
        [Entry.from_file(path) for path in augmenters or ()],
        BenchConfig(rounds=rounds, steps=steps),
        batch_size,
        device,
        precision,
        lambda text: print(text, file=sys.stderr),
    )
    print(tables(result))
    print(save_bench(result, output))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit with 2 and one line for an error that the user can correct."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (CycloptsError, UserError) as error:
        print(f"bench.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
