"""model.safetensors and model.json: the evaluated network of a run, and all that inference needs.

`model.safetensors` and `model.json` are written at each new best epoch. A finished run whose last
epoch is not its best also has `model-last.safetensors` and `model-last.json`. The weights are those
that were evaluated: averaged, with batch normalization re-estimated, where the recipe says so.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor

from residua import files
from residua.augment.normalize import Normalize
from residua.augment.tta import TTA
from residua.data import ChannelStats
from residua.errors import UserError
from residua.models import ResidualNetwork, architecture_errors
from residua.models.network import NormalizedNetwork
from residua.recipes.recipe import Recipe
from residua.runs.checkpoint import first_mismatch, tensor_digest
from residua.runs.records import (
    Count,
    JsonFile,
    Metrics,
    Positive,
    SelectionSplit,
    SplitFingerprint,
    SplitName,
    parse_json,
)
from residua.runs.run import Run

Which = Literal["best", "last"]
"""The network of the best or of the last epoch."""
FORMAT_VERSION = 1
"""Of the description; another number is refused."""
HEADER_BYTES = 2**24
"""Bytes that a safetensors file may have beyond its tensors."""
ImageSide = Annotated[int, Field(ge=1, le=1024)]


class ModelInfo(JsonFile):
    """model.json: what the network is, where its weights come from, and its figures."""

    format_version: Literal[1] = 1
    recipe: Recipe
    """The whole recipe; `architecture`, `tta` and `precision` are taken from it."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """The class of each logit."""
    normalization: ChannelStats
    """The channel statistics of the `normalize` module."""
    image_size: tuple[ImageSide, ImageSide]
    """Height and width, in pixels, of the images it was evaluated on."""
    epoch: Positive
    step: Count
    selection_split: SelectionSplit
    """The split that the best epoch is selected on."""
    is_last: bool = False
    """Whether the training ended with this epoch."""
    splits: dict[str, SplitFingerprint] = {}
    """Size and SHA-256 of each split of the training."""
    metrics: dict[SplitName, Metrics]
    """Measured figures by split, with the recipe's test-time augmentation."""
    sha256: str = ""
    """Of the tensors of the safetensors file, and of all other fields of this file."""

    @property
    def tta(self) -> TTA:
        """The test-time augmentation that the figures were measured with."""
        return self.recipe.tta


def model_paths(directory: Path, which: Which = "best") -> tuple[Path, Path]:
    """The safetensors and the JSON file of a model in a directory."""
    stem = "model" if which == "best" else "model-last"
    return directory / f"{stem}.safetensors", directory / f"{stem}.json"


def save_model(run: Run, network: ResidualNetwork, info: ModelInfo, which: Which = "best") -> None:
    """Write the network, with its normalization as a module, and its description.

    Raises:
        OSError: the file system refused.
    """
    weights, description = model_paths(run.path, which)
    normalized = NormalizedNetwork(Normalize.from_stats(info.normalization), network)
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in normalized.state_dict().items()
    }
    files.write_atomic(weights, save(tensors, {"format": "pt"}))
    run.write_json(description.name, sign_model(info, tensors))


def update_model(run: Run, metrics: dict[SplitName, Metrics], is_last: bool) -> None:
    """Set in the best epoch's model.json what the end of the training shows.

    Args:
        run: the run.
        metrics: figures that are added to those that are there.
        is_last: whether the training ends with this epoch.

    Raises:
        UserError: there is no model, or it is damaged.
    """
    network, info = load_model(run.path)
    info = info.replace(metrics=info.metrics | metrics, is_last=is_last)
    run.write_json("model.json", sign_model(info, network.state_dict()))


def sign_model(info: ModelInfo, tensors: Mapping[str, Tensor]) -> ModelInfo:
    """The description with the checksum of itself and of the tensors."""
    return info.replace(sha256=_digest(tensors, info.model_dump_json()))


def copy_last_model(run: Run) -> None:
    """Let the last epoch's model stand in for that of the best epoch."""
    for last, best in zip(model_paths(run.path, "last"), model_paths(run.path), strict=True):
        files.write_atomic(best, last.read_bytes())


def load_model(directory: Path, which: Which = "best") -> tuple[NormalizedNetwork, ModelInfo]:
    """The network, on the CPU and in evaluation mode, and its description.

    Args:
        directory: a run, or any directory with the two files.
        which: the best or the last epoch's network; the latter only exists in a finished run.

    Raises:
        UserError: there is no such model, or it is damaged.
    """
    weights, description = model_paths(directory, which)
    if which == "last" and not description.is_file():
        best = load_model(directory)
        if best[1].is_last:
            return best
    if not weights.is_file() or not description.is_file():
        raise UserError(f"{directory} has no model: there is no {weights.name} or its .json")
    try:
        text = files.read_bytes(description).decode()
        info, expected = parse_description(text)
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{description} is damaged: {error}") from None
    try:
        tensors, _ = files.read_safetensors(weights, max_file_bytes(expected))
        check_digest(info, tensors, text, description.name)
        return build_network(info, expected, tensors), info
    except (OSError, ValueError) as error:
        raise UserError(f"{weights} is damaged: {error}") from None


def parse_description(text: str) -> tuple[ModelInfo, dict[str, Tensor]]:
    """The description of a model, and the tensors that it needs, without their memory.

    Raises:
        ValueError: it is damaged, or of another version.
        UserError: its network cannot be built.
    """
    check_format_version(text)
    info = parse_json(ModelInfo, text)
    with torch.device("meta"):
        return info, _build(info).state_dict()


def check_format_version(text: str) -> None:
    """Check the version of a JSON document, before its fields.

    Raises:
        ValueError: it is another than this one.
    """
    version = re.search(r'"format_version"\s*:\s*([0-9]{1,9})', text)
    if version is not None and int(version[1]) != FORMAT_VERSION:
        raise ValueError(
            f"format_version is {version[1]}, and this version of residua reads {FORMAT_VERSION}: "
            "use the version of residua that wrote it"
        )


def max_file_bytes(expected: Mapping[str, Tensor]) -> int:
    """The largest size of a safetensors file with these tensors."""
    return sum(value.nbytes for value in expected.values()) + HEADER_BYTES


def check_digest(
    info: ModelInfo, tensors: Mapping[str, Tensor], text: str, description: str
) -> None:
    """Check that tensors and the text of a description are those that were written together.

    Raises:
        ValueError: they are not.
    """
    if _digest(tensors, text) != info.sha256:
        raise ValueError(f"its contents do not match {description}")


def build_network(
    info: ModelInfo, expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> NormalizedNetwork:
    """The network of a description, on the CPU and in evaluation mode.

    Raises:
        ValueError: the tensors are those of another network.
    """
    if mismatch := first_mismatch(expected, tensors):
        raise ValueError(f"it is of another network: it differs in {mismatch}")
    network = _build(info)
    network.load_state_dict(dict(tensors))
    return network.eval().requires_grad_(False)


def _build(info: ModelInfo) -> NormalizedNetwork:
    """The network with its normalization and initial weights.

    Raises:
        UserError: it cannot be built.
    """
    with architecture_errors():
        channels = len(info.normalization.mean)
        network = info.recipe.architecture.build(len(info.classes), channels=channels)
    return NormalizedNetwork(Normalize.from_stats(info.normalization), network)


def _digest(tensors: Mapping[str, Tensor], description: str) -> str:
    """SHA-256 of the tensors and of a description, however it is formatted, without its own."""
    tree = json.loads(description) | {"sha256": ""}
    return tensor_digest(tensors, json.dumps(tree, sort_keys=True))
