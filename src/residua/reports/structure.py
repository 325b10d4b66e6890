"""What the network of a recipe is made of, stage by stage, without computing anything."""

from dataclasses import dataclass

import torch

from residua.models import Architecture, architecture_errors
from residua.models.summary import Summary, summarize
from residua.reports.table import Table
from residua.reports.words import count, setting


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
    size: int
    """The side of the images that the shapes are of, in pixels."""


def structure(architecture: Architecture, classes: int, size: int) -> Structure:
    """Take a network apart that classifies images of `size` x `size` pixels.

    It is built on the meta device: shapes flow through it, but no numbers.

    Raises:
        UserError: there is no such network.
    """
    with architecture_errors(), torch.device("meta"), torch.no_grad():
        network = architecture.build(classes).eval()
        summary = summarize(network, size)
        modules = {"stem": network.stem}
        modules |= {f"stages.{place}": stage for place, stage in enumerate(network.stages)}
        modules["head"] = network.head
        parts, values = [], torch.zeros(1, 3, size, size)
        for name, module in modules.items():
            values = module(values)
            adds = sum(row.multiply_adds for row in summary.layers if _inside(row.name, name))
            weights = sum(weight.numel() for weight in module.parameters())
            parts.append(Part(name, tuple(values.shape[1:]), weights, adds))
    return Structure(tuple(parts), summary, size)


def statistics(anatomy: Structure) -> Table:
    """The documents' table of model statistics; sizes in MiB, which they call MB."""
    summary = anatomy.summary
    total = summary.input_mib + summary.parameters_mib + summary.activations_mib
    rows = [
        ("Total parameters", count(summary.parameters)),
        ("Trainable parameters", count(summary.trainable)),
        ("Non-trainable parameters", f"{summary.parameters - summary.trainable:,}"),
        ("Model size", f"{summary.parameters_mib:.2f} MB"),
        ("Input size", f"{summary.input_mib:.2f} MB (3×{anatomy.size}×{anatomy.size})"),
        ("Forward/backward pass", f"{summary.activations_mib:.2f} MB"),
        ("Estimated total size", f"{total:.2f} MB"),
        ("Weighted layers", str(summary.depth)),
    ]
    return Table(("Specification", "Value"), rows)


def tree(architecture: Architecture, anatomy: Structure | None) -> list[str]:
    """The network from top to bottom, a line each; with shapes where they are known."""
    parts = architecture.model_dump(mode="json")
    shapes = {part.name: part.shape for part in anatomy.parts} if anatomy else {}

    def shape(name: str) -> str:
        return f"   # {'×'.join(map(str, shapes[name]))}" if name in shapes else ""

    size = f"3×{anatomy.size}×{anatomy.size}" if anatomy else "3 channels"
    lines = [f"Input ({size})", f"Stem ({setting(parts['stem'])}){shape('stem')}"]
    stages = zip(architecture.depths, architecture.widths, architecture.all_strides, strict=True)
    block = parts["block"]["kind"]
    lines += [
        f"Stage {place + 1}: {depth}× {block} block ({width} channels, stride {stride})"
        f"{shape(f'stages.{place}')}"
        for place, (depth, width, stride) in enumerate(stages)
    ]
    dropout = f"Dropout({setting(parts['dropout'])}) → " if parts["dropout"] else ""
    pooling = parts["pooling"]["kind"].capitalize()
    return [*lines, f"{pooling} pooling → {dropout}Linear{shape('head')}"]


def _inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
