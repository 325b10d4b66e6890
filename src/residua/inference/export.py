"""Export of a trained network to one file, which is read again and compared before it counts."""

import copy
import importlib.metadata
import math
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from residua import files
from residua.augment.tta import TTA
from residua.errors import UserError
from residua.inference.classifier import Classifier, load_split
from residua.inference.export_graph import ExportGraph
from residua.inference.exported_file import (
    METADATA_KEY,
    Comparison,
    ExportInfo,
    Format,
    Weights,
    load_exported,
    save_exported,
)
from residua.runs.artifacts import load_samples
from residua.runs.run import Run

SUFFIXES: dict[Format, str] = {"safetensors": ".safetensors", "onnx": ".onnx", "torch": ".pt2"}
COMPARED_IMAGES = 128
ODD_SIZES = ((75, 50), (33, 61), (20, 90), (24, 24), (129, 200), (7, 5))
"""Widths and heights that further images are enlarged or shrunk to before they are compared."""
TOLERANCE = 1e-4
"""The largest difference of a probability where the arithmetic is the same but for rounding."""
HALF_TOLERANCE = 2e-2
"""The same, where filters are stored in 16 bits."""
HALF_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
Answer = Callable[[Tensor], Tensor]
"""uint8 (N, 3, H, W) of any size to probabilities (N, K) float32."""


@dataclass(frozen=True)
class RealImages:
    """What an export is compared on."""

    images: Tensor
    """(N, 3, H, W) uint8."""
    source: str
    """Where they are from."""

    def batches(self) -> list[Tensor]:
        """The images as they are, and a few of them in other sizes, one at a time."""
        resized = [
            torch.from_numpy(
                np.array(
                    Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size), dtype=np.uint8
                )
            ).permute(2, 0, 1)[None]
            for image, size in zip(self.images, ODD_SIZES, strict=False)
        ]
        return [*torch.split(self.images, 64), *resized]


def real_images(model: Classifier, run: Path | None = None) -> RealImages:
    """Images to compare an export on: of the test set, else of the run, else generated ones.

    Args:
        model: the network; its recipe names the data set.
        run: the directory of the run, if there is one: it holds a few training images.
    """
    try:
        split = load_split(model, "test")
        return RealImages(as_rgb(split.subsample(COMPARED_IMAGES).images), "test set")
    except (UserError, OSError, ValueError):
        pass
    if run is not None and (samples := load_samples(Run(run))) is not None:
        return RealImages(as_rgb(samples.originals), "training images stored in the run")
    shapes = {"kind": "shapes100", "train": 1, "test": COMPARED_IMAGES}
    generated = load_split(model, "test", model.recipe.replace(data=shapes).data)
    return RealImages(generated.images, "generated pictures: the test set is not at hand")


def as_rgb(images: Tensor) -> Tensor:
    """Images (N, 1 or 3, H, W) as exported files take them: (N, 3, H, W)."""
    return images.expand(-1, 3, -1, -1).contiguous()


def compare(answer: Answer, model: Classifier, images: RealImages, reference: str) -> Comparison:
    """Compare an exported file with the network that it was made from.

    Args:
        answer: of the file that was read again.
        model: the network, whose `predict` resizes by Pillow.
        images: what to compare on.
        reference: the name of the network's answers.
    """
    difference, same, count = 0.0, 0, 0
    for batch in images.batches():
        expected, actual = model.predict(batch).probabilities, answer(batch)
        largest = float((expected - actual).abs().max())
        difference = max(difference, 2.0 if math.isnan(largest) else largest)
        same += int((expected.argmax(1) == actual.argmax(1)).sum())
        count += len(batch)
    return Comparison(
        images=count,
        source=images.source,
        reference=reference,
        max_difference=difference,
        same_top1=same,
    )


def check_comparison(comparison: Comparison, tolerance: float) -> None:
    """Check that an exported file gives the answers of its network.

    Raises:
        UserError: it does not.
    """
    if comparison.max_difference > tolerance:
        raise UserError(
            f"the exported file does not give the answers of the network and was not kept: "
            f"{comparison}; at most {tolerance:.0e} is allowed"
        )


def export_info(model: Classifier, kind: Format, tta: TTA | None = None) -> ExportInfo:
    """The description of an export, before it is compared."""
    return ExportInfo(
        residua_version=importlib.metadata.version("residua"),
        format=kind,
        model=model.info,
        image_size=model.image_size,
        tta=model.info.tta if tta is None else tta,
    )


def with_settings(model: Classifier, tta: TTA, precision: str) -> Classifier:
    """The same network with another test-time augmentation and precision, on the CPU."""
    recipe = model.recipe.replace(tta=tta, precision=precision)
    network = model.network if model.device.type == "cpu" else copy.deepcopy(model.network)
    return Classifier(network, model.info.replace(recipe=recipe), torch.device("cpu"))


def references(model: Classifier, tta: TTA) -> list[tuple[str, Classifier]]:
    """What a float32 graph is compared with: its own arithmetic, then that of `predict`."""
    names = [("the network in float32", "float32")]
    if model.recipe.precision != "float32":
        names.append((f"the network in {model.recipe.precision}, as predict runs it", ""))
    return [
        (name, with_settings(model, tta, precision or model.recipe.precision))
        for name, precision in names
    ]


def export_safetensors(
    model: Classifier, path: Path, images: RealImages, weights: Weights = "float32"
) -> ExportInfo:
    """Write a network and its description as one .safetensors file.

    Args:
        model: the network.
        path: of the file.
        images: what to compare the file on.
        weights: the type that convolution filters are stored in; everything else stays float32.
            bfloat16 changes no answer of a network with that precision.

    Raises:
        UserError: the file gives other answers than the network; it is not kept.
        OSError: the file system refused.
    """
    tensors = {
        name: value.detach().cpu().contiguous()
        for name, value in model.network.state_dict().items()
    }
    if weights != "float32":
        tensors = {
            name: value.to(HALF_DTYPES[weights]) if value.ndim == 4 else value
            for name, value in tensors.items()
        }
    info = export_info(model, "safetensors").replace(weights=weights)
    partial = path.with_name(f".{path.name}.unverified")
    reference = "the network as predict runs it"
    try:
        save_exported(partial, tensors, info)
        network, stored = load_exported(partial)
        reloaded = Classifier(network, stored.model, torch.device("cpu"))
        original = with_settings(model, model.info.tta, model.recipe.precision)
        comparison = compare(
            lambda batch: reloaded.predict(batch).probabilities, original, images, reference
        )
        check_comparison(comparison, 0.0 if weights == "float32" else HALF_TOLERANCE)
    finally:
        partial.unlink(missing_ok=True)
    info = info.replace(comparisons=(comparison,))
    save_exported(path, tensors, info)
    return info


def export_torch(
    model: Classifier, path: Path, images: RealImages, tta: TTA | None = None
) -> ExportInfo:
    """Write a program for `torch.export.load`: uint8 (N, 3, H, W) of any size to probabilities.

    The description is the extra file `residua` of the archive.

    Args:
        model: the network.
        path: of the file.
        images: what to compare the file on.
        tta: the test-time augmentation in the graph; None uses the recipe's.

    Raises:
        UserError: the file gives other answers than the network; it is not kept.
        OSError: the file system refused.
    """
    info = export_info(model, "torch", tta)
    program = trace(model, info.tta)
    loaded = torch.export.load(_program_bytes(program, info)).module()
    comparisons = tuple(
        compare(loaded, reference, images, name) for name, reference in references(model, info.tta)
    )
    check_comparison(comparisons[0], TOLERANCE)
    info = info.replace(comparisons=comparisons)
    files.write_atomic(path, _program_bytes(program, info).getvalue())
    return info


def trace(model: Classifier, tta: TTA) -> torch.export.ExportedProgram:
    """The graph of a network for any number of images of any size."""
    # Filters in the order of torch's documentation: other programs expect no other.
    network = copy.deepcopy(model.network).cpu()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    graph = ExportGraph(network, model.preparation, tta).eval()
    example, dynamic = export_example()
    with torch.no_grad():
        return torch.export.export(graph, (example,), dynamic_shapes=dynamic)


def export_example() -> tuple[Tensor, tuple[dict[int, torch.export.Dim], ...]]:
    """Images to trace a graph with, and the axes that may have any length."""
    # With a batch of one, tracing would take its length for a constant.
    example = torch.zeros(3, 3, 40, 50, dtype=torch.uint8)
    names = {0: "batch", 2: "height", 3: "width"}
    return example, ({axis: torch.export.Dim(name, min=1) for axis, name in names.items()},)


def _program_bytes(program: torch.export.ExportedProgram, info: ExportInfo) -> BytesIO:
    buffer = BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA_KEY: info.model_dump_json()})
    buffer.seek(0)
    return buffer
