"""Starting a training from the weights of a trained network."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from residua.data import ChannelStats
from residua.errors import UserError
from residua.inference.sources import absolute_source, read_model
from residua.models import Architecture, ResidualNetwork
from residua.models.network import NormalizedNetwork
from residua.recipes.init import Init
from residua.recipes.recipe import Recipe
from residua.runs.checkpoint import tensor_digest
from residua.runs.model_file import ModelInfo
from residua.runs.records import InitRecord

FREE_FIELDS = {"dropout", "stochastic_depth", "initialization", "head_init_std", "pooling"}
"""Fields of an architecture, at any depth, that trained weights do not depend on."""
FREE_PATHS = {"norm.momentum", "head_bias"}
"""The same, at one place."""


_Tensors = list[tuple[str, Tensor]]


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
            UserError: a tensor has another shape or type, or is missing.
        """
        with torch.no_grad():
            for part in ("body", "head") if self.fits_head(classes) else ("body",):
                own, trained = (_part(each, part) for each in (network, self.network.network))
                self._check_fit(own, trained)
                for (_, value), (_, source) in zip(own, trained, strict=True):
                    value.copy_(source)

    def _check_fit(self, own: _Tensors, trained: _Tensors) -> None:
        missing: tuple[str, None] = ("", None)
        for (name, value), (theirs, source) in zip_longest(own, trained, fillvalue=missing):
            here, there = _described(name, value), _described(theirs, source)
            if here != there:
                raise UserError(
                    f"init: the network of {self.init.source} does not fit this recipe's: "
                    f"{name or theirs} is {there} there, and {here} here"
                )

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
    try:
        network, info = read_model(init.source, init.which)
    except UserError as error:
        raise UserError(f"init: {error}") from None
    sha256 = tensor_digest(network.state_dict())
    if init.sha256 not in (None, sha256):
        raise UserError(
            f"init: {init.source} has other weights than the recipe states: their SHA-256 is "
            f"{sha256}, not {init.sha256}"
        )
    source = absolute_source(init.source)
    return TrainedSource(init.replace(source=source, sha256=sha256), network, info)


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


def _part(network: ResidualNetwork, part: str) -> _Tensors:
    """The tensors of the final linear layer, or all others, in the order of the layers.

    Names are not the same in networks that differ in dropout: they number the layers.
    """
    head = f"head.{len(network.head) - 1}."
    return [
        (name, value)
        for name, value in network.state_dict().items()
        if name.startswith(head) == (part == "head")
    ]


def _described(name: str, value: Tensor | None) -> str:
    if value is None:
        return "missing"
    return f"a {name.rpartition('.')[2]} {tuple(value.shape)} {value.dtype}"
