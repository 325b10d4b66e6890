"""Starting a training from the weights of a trained network."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua.data import ChannelStats
from residua.errors import UserError
from residua.models import Architecture, ResidualNetwork
from residua.models.network import NormalizedNetwork
from residua.recipes.init import Init
from residua.recipes.recipe import Recipe
from residua.runs.checkpoint import first_mismatch, tensor_digest
from residua.runs.model_file import ModelInfo, Which, load_model
from residua.runs.records import InitRecord

FREE_FIELDS = {"dropout", "stochastic_depth", "initialization", "head_init_std", "pooling"}
"""Fields of an architecture, at any depth, that trained weights do not depend on."""
FREE_PATHS = {"norm.momentum", "head_bias"}
"""The same, at one place."""


@dataclass(frozen=True)
class TrainedSource:
    """A trained network, as a recipe's `init` names it."""

    init: Init
    """With the source as an absolute path, and the SHA-256 of its weights."""
    network: NormalizedNetwork
    info: ModelInfo

    def prepare(self, recipe: Recipe) -> Recipe:
        """The recipe as a run keeps it: without the source it can be continued from.

        Raises:
            UserError: its network is another one than the source's.
        """
        own, trained = (_structure(each.architecture) for each in (recipe, self.info.recipe))
        for path in sorted(own.keys() | trained.keys()):
            if own.get(path) != trained.get(path):
                raise UserError(
                    f"init: {self.init.source} has a network with architecture.{path} "
                    f"{json.dumps(trained.get(path))}, this recipe has "
                    f"{json.dumps(own.get(path))}: both must be the same; "
                    f"--architecture '{self.info.recipe.architecture.model_dump_json()}' takes the "
                    "source's network"
                )
        return recipe.replace(init=self.init, normalization=self._normalization(recipe))

    def copy_to(self, network: ResidualNetwork, classes: tuple[str, ...]) -> None:
        """Copy the weights and statistics to a network; its head stays, where classes differ.

        Raises:
            UserError: another tensor than the head's has another name, shape or type.
        """
        own, trained = network.state_dict(), self.network.network.state_dict()
        if not self.fits_head(classes):
            head = f"head.{len(network.head) - 1}."
            trained = {name: own[name] for name in own if name.startswith(head)} | {
                name: value for name, value in trained.items() if not name.startswith(head)
            }
        if mismatch := first_mismatch(own, trained):
            sides = (_described(each.get(mismatch)) for each in (trained, own))
            raise UserError(
                f"init: {self.init.source} does not fit this recipe's network: {mismatch} is "
                f"{' there, and here '.join(sides)}"
            )
        network.load_state_dict(trained)

    def fits_head(self, classes: tuple[str, ...]) -> bool:
        """Whether the final linear layer is taken over: the classes are the same."""
        return classes == self.info.classes

    def record(self, recipe: Recipe, classes: tuple[str, ...]) -> InitRecord:
        """What a run with this recipe keeps of its source."""
        return InitRecord(
            source=self.init.source,
            sha256=self.init.sha256 or "",
            recipe=self.info.recipe.name,
            epoch=self.info.epoch,
            classes=len(self.info.classes),
            new_head=not self.fits_head(classes),
            source_normalization=recipe.normalization == self.info.normalization,
        )

    def _normalization(self, recipe: Recipe) -> ChannelStats | None:
        if recipe.normalization is not None or self.init.normalization == "data":
            return recipe.normalization
        return self.info.normalization


def read_source(init: Init) -> TrainedSource:
    """Read the trained network that a recipe's `init` names.

    Raises:
        UserError: there is no such network, it is damaged, or it has other weights than `init`
            states.
    """
    directory, which = _model_directory(init)
    network, info = load_model(directory, which)
    sha256 = tensor_digest(network.state_dict())
    if init.sha256 not in (None, sha256):
        raise UserError(
            f"init: {init.source} has other weights than the recipe states: their SHA-256 is "
            f"{sha256}, not {init.sha256}"
        )
    known = init.replace(source=str(directory.resolve()), which=which, sha256=sha256)
    return TrainedSource(known, network, info)


def _model_directory(init: Init) -> tuple[Path, Which]:
    """The directory of a model, and which of its two models it is.

    Raises:
        UserError: there is no such file or directory.
    """
    path = Path(init.source).expanduser()
    if path.is_dir():
        return path, init.which
    if not path.is_file():
        raise UserError(
            f"init: there is no trained network {init.source!r}: it takes a run, a directory with "
            "model.safetensors and model.json, or one of these files"
        )
    stems: dict[str, Which] = {"model": "best", "model-last": "last"}
    if path.stem not in stems or path.suffix not in (".safetensors", ".json"):
        raise UserError(f"init: {path} is not a model.safetensors or model.json")
    return path.parent, stems[path.stem]


def _structure(architecture: Architecture) -> dict[str, Any]:
    """The fields that trained weights depend on, by dotted path."""
    return {
        path: value
        for path, value in _leaves(architecture.model_dump(mode="json"))
        if not FREE_FIELDS & set(path.split(".")) and path not in FREE_PATHS
    }


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        yield path, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{path}.{key}" if path else key)


def _described(value: Any) -> str:
    return "missing" if value is None else f"{value.dtype} {tuple(value.shape)}"
