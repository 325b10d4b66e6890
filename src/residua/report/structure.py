"""What the network of a recipe is made of, stage by stage, without computing anything."""

from dataclasses import dataclass

import torch

from residua.models import Architecture, possible
from residua.models.summary import Summary, summarise


@dataclass(frozen=True)
class Part:
    """The stem, a stage, or the head."""

    name: str
    shape: tuple[int, ...]
    """Of its output for one image."""
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Structure:
    """A network's parts and layers."""

    parts: tuple[Part, ...]
    summary: Summary


def structure(architecture: Architecture, classes: int, size: int) -> Structure:
    """Take a network apart that classifies images of `size` x `size` pixels.

    It is built on the meta device: shapes flow through it, but no numbers.

    Raises:
        UserError: there is no such network.
    """
    with possible(), torch.device("meta"), torch.no_grad():
        network = architecture.build(classes).eval()
        summary = summarise(network, size)
        modules = {"stem": network.stem}
        modules |= {f"stages.{place}": stage for place, stage in enumerate(network.stages)}
        modules["head"] = network.head
        parts, values = [], torch.zeros(1, 3, size, size)
        for name, module in modules.items():
            values = module(values)
            adds = sum(row.multiply_adds for row in summary.rows if _inside(row.name, name))
            weights = sum(weight.numel() for weight in module.parameters())
            parts.append(Part(name, tuple(values.shape[1:]), weights, adds))
    return Structure(tuple(parts), summary)


def _inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
