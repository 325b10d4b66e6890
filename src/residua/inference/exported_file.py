"""Exported files: what they say about themselves, and networks in one .safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from safetensors.torch import save
from torch import Tensor

from residua import files
from residua.augment.tta import TTA
from residua.errors import UserError
from residua.models.network import NormalizedNetwork
from residua.runs.model_file import (
    ModelInfo,
    build_network,
    check_digest,
    check_format_version,
    max_file_bytes,
    parse_description,
    sign_model,
)
from residua.runs.records import Count, JsonFile, NonNegative, Percent, Positive, parse_json

Format = Literal["safetensors", "onnx", "torch"]
Weights = Literal["float32", "bfloat16", "float16"]
METADATA_KEY = "residua"
"""The entry of a file's metadata that holds an `ExportInfo` as JSON."""


class Comparison(JsonFile):
    """How the answers of an exported file differ from those of the network it was made from."""

    images: Positive
    source: str
    """Where the images are from."""
    reference: str
    """What the file is compared with."""
    max_difference: NonNegative
    """The largest difference of a probability; 2 where one is not a number."""
    same_top1: Count
    """Images with the same most probable class."""

    def __str__(self) -> str:
        return (
            f"{self.images} images ({self.source}), compared with {self.reference}: largest "
            f"difference of a probability {self.max_difference:.1e}, the same class for "
            f"{self.same_top1} of {self.images}"
        )


class Quantization(JsonFile):
    """What int8 costs and gains, measured when the file was made."""

    calibration_images: Positive
    """Training images that the ranges of activations were measured on."""
    split: str
    """What the accuracies were measured on."""
    images: Positive
    float_accuracy: Percent
    """Of the float32 file, in percent."""
    int8_accuracy: Percent
    float_images_per_second: NonNegative
    """By ONNX Runtime on the machine that made the file; the median of several passes."""
    int8_images_per_second: NonNegative
    hardware: str

    @property
    def accuracy_loss(self) -> float:
        """In percentage points."""
        return self.float_accuracy - self.int8_accuracy

    @property
    def speedup(self) -> float:
        """How many times as fast int8 is."""
        return self.int8_images_per_second / max(self.float_images_per_second, 1e-9)

    def __str__(self) -> str:
        return (
            f"int8: accuracy {self.int8_accuracy:.2f} %, float32 {self.float_accuracy:.2f} % "
            f"({self.images:,} images, {self.split}); {self.int8_images_per_second:,.0f} images/s, "
            f"float32 {self.float_images_per_second:,.0f} ({self.speedup:.2f} times, "
            f"{self.hardware})"
        )


class ExportInfo(JsonFile):
    """The description in an exported file."""

    format_version: Literal[1] = 1
    residua_version: str
    format: Format
    model: ModelInfo
    """The recipe, classes, normalization and measured figures of the network."""
    weights: Literal[Weights, "int8"] = "float32"
    """The type that convolution filters are stored in."""
    image_size: Annotated[int, Field(ge=1, le=1024)]
    """The side, in pixels, that images are resized to."""
    tta: TTA
    """The test-time augmentation; that of .onnx and .pt2 files cannot be changed."""
    comparisons: tuple[Comparison, ...] = ()
    quantization: Quantization | None = None


def save_exported(path: Path, tensors: Mapping[str, Tensor], info: ExportInfo) -> None:
    """Write a network as one .safetensors file, completely or not at all.

    Raises:
        OSError: the file system refused.
    """
    signed = info.replace(model=sign_model(info.model, tensors))
    metadata = {"format": "pt", METADATA_KEY: signed.model_dump_json()}
    files.write_atomic(path, save(dict(tensors), metadata))


def load_exported(path: Path) -> tuple[NormalizedNetwork, ExportInfo]:
    """Read a network that `save_exported` wrote: on the CPU, in evaluation mode and in float32.

    Raises:
        UserError: the file is damaged, of another version, or not of residua.
    """
    try:
        text = files.read_safetensors_metadata(path).get(METADATA_KEY)
        if text is None:
            raise UserError(
                f"{path} has no description of its network: export it with `residua export`, or "
                "give the directory with its model.json"
            )
        info, description = parse_export_info(text)
        model, expected = parse_description(description)
        stored, _ = files.read_safetensors(path, max_file_bytes(expected))
        check_digest(model, stored, description, "their checksum")
        tensors = {name: _lengthened(value, expected.get(name)) for name, value in stored.items()}
        return build_network(model, expected, tensors), info
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def parse_export_info(text: str) -> tuple[ExportInfo, str]:
    """The description of an exported file, and that of its model as it was written.

    Raises:
        ValueError: it is damaged, or of another version.
    """
    check_format_version(text)
    info = parse_json(ExportInfo, text)
    tree: dict[str, Any] = json.loads(text)
    return info, json.dumps(tree["model"])


def _lengthened(stored: Tensor, expected: Tensor | None) -> Tensor:
    """A tensor that is stored in 16 bits, in the type that the network has."""
    if expected is None or not (stored.is_floating_point() and expected.is_floating_point()):
        return stored
    return stored.to(expected.dtype)
