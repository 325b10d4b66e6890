"""`residua bench`. Nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

Count = Annotated[int, Parameter(validator=Number(gte=1))]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


def bench(
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
    """Race our training against the loop that people write, and against a matrix product.

    Prints ratios; the seconds go into a JSON file, whose path is the last line. Leave the machine
    alone meanwhile.

    Parameters
    ----------
    systems
        Recipes, files, or resnet20; left out: resnet20 and four published networks.
    rounds
        How often every contender takes its turn.
    steps
        Steps of a turn; left out: what takes about three seconds.
    batch_size
        Images a step.
    device
        Where to train.
    precision
        Of convolutions; auto is bfloat16 on a GPU and float32 elsewhere.
    compiled
        Whether a compiled network takes part too.
    also
        Programs that train, to race against too; benchmarks/ has one.
    augmenters
        Programs that augment, to race our augmentation against; benchmarks/ has some.
    output
        The directory for the JSON file.
    """
    import sys

    from residua import bench as room
    from speed.systems import SYSTEMS

    figures = room.bench(
        systems or SYSTEMS,
        [*room.trainers(device, compiled), *map(room.Contender.of, also or ())],
        [room.Contender.of(path) for path in augmenters or ()],
        room.Effort(rounds=rounds, steps=steps),
        batch_size,
        device,
        precision,
        lambda text: print(text, file=sys.stderr),
    )
    print(room.tables(figures))
    print(room.keep(figures, output))
