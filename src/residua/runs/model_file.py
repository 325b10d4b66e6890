"""model.safetensors and model.json: the evaluated network of a run, and all that inference needs.

`model.safetensors` and `model.json` are written at each new best epoch. A finished run whose last
epoch is not its best also has `model-last.safetensors` and `model-last.json`. The weights are those
that were evaluated: averaged, with batch normalization re-estimated, where the recipe says so.
"""

from pathlib import Path
from typing import Literal

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
from residua.runs.checkpoint import tensor_digest
from residua.runs.records import (
    Count,
    JsonFile,
    Metrics,
    Positive,
    SelectionSplit,
    SplitName,
    read_json,
)
from residua.runs.run import Run

Which = Literal["best", "last"]
"""The network of the best or of the last epoch."""
MAX_MODEL_BYTES = 2**33


class ModelInfo(JsonFile):
    """model.json: what the network is, where its weights come from, and its figures."""

    format_version: Literal[1] = 1
    recipe: Recipe
    """The whole recipe; `architecture`, `tta` and `precision` are taken from it."""
    classes: tuple[str, ...]
    """The class of each logit."""
    normalization: ChannelStats
    """The channel statistics of the `normalize` module."""
    image_size: tuple[Positive, Positive]
    """Height and width, in pixels, of the images it was evaluated on."""
    epoch: Positive
    step: Count
    selection_split: SelectionSplit
    """The split that the best epoch is selected on."""
    metrics: dict[SplitName, Metrics]
    """Measured figures by split, with the recipe's test-time augmentation."""
    sha256: str = ""
    """Of the tensors of the safetensors file."""

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
    run.write_json(description.name, info.replace(sha256=tensor_digest(tensors)))


def update_model_metrics(run: Run, split: SplitName, metrics: Metrics) -> None:
    """Add the figures of a split to model.json."""
    _, description = model_paths(run.path)
    info = read_json(ModelInfo, description)
    if info is not None:
        run.write_json(description.name, info.replace(metrics=info.metrics | {split: metrics}))


def copy_last_model(run: Run) -> None:
    """Let the last epoch's model stand in for that of the best epoch."""
    for last, best in zip(model_paths(run.path, "last"), model_paths(run.path), strict=True):
        files.write_atomic(best, last.read_bytes())


def load_model(directory: Path, which: Which = "best") -> tuple[NormalizedNetwork, ModelInfo]:
    """The network, on the CPU and in evaluation mode, and its description.

    Args:
        directory: a run, or any directory with the two files.
        which: the best or the last epoch's network; the latter only exists in a finished run, and
            is the former where the last epoch was the best.

    Raises:
        UserError: there is no such model, or it is damaged.
    """
    weights, description = model_paths(directory, which)
    info = read_json(ModelInfo, description)
    if info is None or not weights.is_file():
        raise UserError(f"{directory} has no model: there is no {weights.name} or its .json")
    try:
        tensors, _ = files.read_safetensors(weights, MAX_MODEL_BYTES)
        if tensor_digest(tensors) != info.sha256:
            raise ValueError(f"its contents do not match {description.name}")
        network = _build(info, tensors)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{weights} is damaged: {error}") from None
    return network, info


def _build(info: ModelInfo, tensors: dict[str, Tensor]) -> NormalizedNetwork:
    with architecture_errors():
        network = info.recipe.architecture.build(len(info.classes))
    normalized = NormalizedNetwork(Normalize.from_stats(info.normalization), network)
    normalized.load_state_dict(tensors)
    return normalized.eval().requires_grad_(False)
