"""Images/s of a trained network: torch, its exported program, ONNX Runtime in float32 and int8.

    python benchmarks/inference.py MODEL [--batch-sizes 1 64] [--tta none] [--output FILE]

All answer for the same uint8 images of the network's size, softmax included, and take turns in each
round, so that they see the same machine. Tables show the median of the rounds, and the ratio to
torch within a round. Nothing else should run on the machine. Needs the extra `onnx`; int8 is
calibrated on the training images of the recipe, and left out with --no-int8.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from residua import files, load
from residua.augment.tta import TTA
from residua.inference.classifier import Classifier, load_split
from residua.inference.export import export_torch, real_images, with_settings
from residua.inference.exported_file import Quantization
from residua.integrations.onnx_files import (
    CALIBRATION_IMAGES,
    export_onnx,
    load_onnx,
    measure_int8,
    quantize,
)
from residua.reports.kit.tables import Table, markdown_table
from residua.runs.environment import Environment, collect_environment
from residua.runs.records import Count, JsonFile, NonNegative, Positive

SAMPLE_SECONDS = 1.0
Answer = Callable[[Tensor], Tensor]


class Speed(JsonFile):
    """One way of running the network at one batch size."""

    entry: str
    batch_size: Positive
    images_per_second: tuple[NonNegative, ...]
    """Of each round."""

    @property
    def median(self) -> float:
        """Images/s of the median round."""
        return statistics.median(self.images_per_second)


class InferenceRecord(JsonFile):
    """What a call of this script measured."""

    environment: Environment
    model: str
    recipe: str
    image_size: Positive
    tta: str
    rounds: Count
    speeds: tuple[Speed, ...]
    quantization: Quantization | None = None
    """The accuracy of int8 beside that of float32."""


def entries(model: Classifier, tta: TTA, folder: Path, int8: bool) -> dict[str, Answer]:
    """Each way of running the network, by name; the files are written to a folder."""
    images = real_images(model)
    cpu = with_settings(model, tta, "float32")
    ways: dict[str, Answer] = {"torch float32": cpu.probabilities}
    if model.recipe.precision != "float32":
        own = with_settings(model, tta, model.recipe.precision)
        ways[f"torch {model.recipe.precision}"] = own.probabilities
    export_torch(model, folder / "model.pt2", images, tta)
    program = torch.export.load(folder / "model.pt2").module()
    ways["exported torch program"] = torch.inference_mode()(program)
    export_onnx(model, folder / "model.onnx", images, tta)
    ways["ONNX Runtime float32"] = load_onnx(folder / "model.onnx").probabilities
    if int8:
        calibration = load_split(model, "train").subsample(CALIBRATION_IMAGES)
        quantize(folder / "model.onnx", folder / "int8.onnx", calibration.images)
        ways["ONNX Runtime int8"] = load_onnx(folder / "int8.onnx").probabilities
    return ways


def sample(answer: Answer, batch: Tensor) -> float:
    """Images/s over about a second, after one untimed batch."""
    answer(batch)
    images, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < SAMPLE_SECONDS:
        answer(batch)
        images += len(batch)
    return images / seconds


def measure(
    ways: dict[str, Answer], images: Tensor, sizes: Sequence[int], rounds: int
) -> list[Speed]:
    """The speed of every way at every batch size; within a round they take turns."""
    speeds = []
    for size in sizes:
        batch = images[torch.arange(size) % len(images)]
        measured: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, answer in ways.items():
                measured[name].append(sample(answer, batch))
        speeds += [
            Speed(entry=name, batch_size=size, images_per_second=tuple(values))
            for name, values in measured.items()
        ]
    return speeds


def table(record: InferenceRecord) -> str:
    """Images/s and the ratio to torch, in Markdown."""
    rows = []
    for speed in record.speeds:
        first = next(each for each in record.speeds if each.batch_size == speed.batch_size)
        pairs = zip(speed.images_per_second, first.images_per_second, strict=True)
        ratios = [value / reference for value, reference in pairs]
        rows.append(
            [
                speed.entry,
                str(speed.batch_size),
                f"{speed.median:,.0f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            ]
        )
    return markdown_table(Table(["", "batch", "images/s", "relative to torch float32"], rows))


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a run, an exported .safetensors file, or pocket")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--tta", choices=["none", "mirror", "mirror_translate"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-int8", action="store_true")
    parser.add_argument("--output", type=Path, help="the JSON file to write")
    arguments = parser.parse_args(words)
    model = load(arguments.model, device="cpu")
    tta = arguments.tta or model.info.tta
    with tempfile.TemporaryDirectory() as name:
        folder, int8 = Path(name), not arguments.no_int8
        ways = entries(model, tta, folder, int8)
        images = real_images(model).images
        record = InferenceRecord(
            environment=collect_environment(torch.device("cpu"), model.recipe.seed),
            model=arguments.model,
            recipe=model.recipe.name,
            image_size=model.image_size,
            tta=tta,
            rounds=arguments.rounds,
            speeds=tuple(measure(ways, images, arguments.batch_sizes, arguments.rounds)),
            quantization=measure_int8(model, folder / "model.onnx", folder / "int8.onnx")
            if int8
            else None,
        )
    print(table(record))
    if record.quantization is not None:
        print(f"\n{record.quantization}")
    if arguments.output is not None:
        files.write_atomic(arguments.output, record.model_dump_json(indent=2) + "\n")


if __name__ == "__main__":
    main()
