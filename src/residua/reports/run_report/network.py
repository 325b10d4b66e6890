"""The network of a run: its parts and layers, and what training it costs."""

from collections import Counter
from dataclasses import dataclass

import torch

from residua.models import Architecture, architecture_errors, training_flops
from residua.models.summary import Summary, summarize
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import count, setting, shape
from residua.reports.kit.tables import Table
from residua.reports.run_data import RunData
from residua.schedules import TrainingProgress, value_at

UNKNOWN = (
    "The number of classes is not known before the run saves its first samples, so the network "
    "cannot be built yet."
)


@dataclass(frozen=True)
class Part:
    """The stem, a stage, or the head."""

    name: str
    """`stem`, `stages.0`, ... or `head`."""
    shape: tuple[int, ...]
    """Of its output for one image."""
    parameters: int
    multiply_adds: int

    @property
    def title(self) -> str:
        """Stem, Stage 1, ..., Head."""
        kind, _, index = self.name.partition(".")
        return f"Stage {int(index) + 1}" if index else kind.capitalize()


@dataclass(frozen=True)
class Structure:
    """A network's parts and layers for square images."""

    parts: tuple[Part, ...]
    summary: Summary
    size: int
    """The side of the images, in pixels."""
    channels: int = 3
    """Of the images."""


def structure(architecture: Architecture, classes: int, size: int, channels: int = 3) -> Structure:
    """Measure the network for images of `size` x `size` pixels, on the meta device.

    Raises:
        UserError: the architecture cannot be built.
    """
    with architecture_errors(), torch.device("meta"), torch.no_grad():
        network = architecture.build(classes, channels=channels).eval()
        summary = summarize(network, size, channels)
        modules = {"stem": network.stem}
        modules |= {f"stages.{index}": stage for index, stage in enumerate(network.stages)}
        modules["head"] = network.head
        parts, values = [], torch.zeros(1, channels, size, size)
        for name, module in modules.items():
            values = module(values)
            rows = [row for row in summary.layers if f"{row.name}.".startswith(f"{name}.")]
            weights = sum(weight.numel() for weight in module.parameters())
            adds = sum(row.multiply_adds for row in rows)
            parts.append(Part(name, tuple(values.shape[1:]), weights, adds))
    return Structure(tuple(parts), summary, size, channels)


def training_cost(run: RunData, classes: int, size: int, channels: int = 3) -> int:
    """Floating-point operations of the training so far: the network, forward and backward.

    They are in the log; those of older runs are computed here. Counted are convolutions and matrix
    products, without evaluations and without what the optimiser does to gradients.

    Args:
        run: the run.
        classes: of the data set.
        size: the side of its images in pixels, for recipes that do not resize them.
        channels: of its images.
    """
    recipe = run.recipe
    logged = [record.flops for record in run.records if record.flops is not None]
    if len(logged) == len(run.records):
        return round(sum(logged))
    images: Counter[int] = Counter()
    for record in run.records:
        steps = record.step // record.epoch
        progress = TrainingProgress(record.step - 1, recipe.epochs * steps, steps)
        side = size if recipe.image_size is None else round(value_at(recipe.image_size, progress))
        images[side] += round(record.seconds * record.images_per_second)
    with torch.device("meta"):
        network = recipe.architecture.build(classes, channels=channels)
    passes = 1 if recipe.sam is None else 2
    flops = {side: training_flops(network, side, channels) for side in images}
    return passes * sum(flops[side] * seen for side, seen in images.items())


def network_section(network: Structure | None) -> doc.Section:
    """Parts and layers."""
    if network is None:
        return doc.Section("Network", [UNKNOWN])
    summary = network.summary
    rows = [
        (row.name, row.kind, shape(row.shape), count(row.parameters), count(row.multiply_adds))
        for row in summary.layers
    ]
    columns = ("Layer", "Kind", "Output", "Parameters", "Multiply-adds")
    frozen = summary.parameters - summary.trainable
    trainable = f"{count(summary.trainable)} of them trainable, " if frozen else ""
    text = (
        f"{count(summary.parameters)} parameters ({summary.parameters_mib:.2f} MiB in float32), "
        f"{trainable}{count(summary.multiply_adds)} multiply-adds an image, {summary.depth} "
        "weighted layers (convolutions outside shortcuts, and linear layers)."
    )
    layers = doc.Details(f"All {len(rows)} layers", [Table(columns, rows, text_columns=3)])
    return doc.Section("Network", [text, parts_table(network), layers])


def parts_table(network: Structure) -> Table:
    """Output, parameters and multiply-adds of each part."""
    rows = [
        (part.title, shape(part.shape), count(part.parameters), count(part.multiply_adds))
        for part in network.parts
    ]
    summary = network.summary
    rows.append(("Total", "", count(summary.parameters), count(summary.multiply_adds)))
    columns = ("Part", "Output", "Parameters", "Multiply-adds")
    return Table(columns, rows, text_columns=2, total=True)


def model_statistics(network: Structure) -> Table:
    """The table of model statistics of the published documents; their MB are MiB."""
    summary = network.summary
    total = summary.input_mib + summary.parameters_mib + summary.activations_mib
    rows = [
        ("Total parameters", count(summary.parameters)),
        ("Trainable parameters", count(summary.trainable)),
        ("Non-trainable parameters", count(summary.parameters - summary.trainable)),
        ("Model size", f"{summary.parameters_mib:.2f} MB"),
        (
            "Input size",
            f"{summary.input_mib:.2f} MB ({network.channels}×{network.size}×{network.size})",
        ),
        ("Forward/backward pass", f"{summary.activations_mib:.2f} MB"),
        ("Estimated total size", f"{total:.2f} MB"),
        ("Weighted layers", str(summary.depth)),
    ]
    return Table(("Specification", "Value"), rows)


def architecture_lines(architecture: Architecture, network: Structure | None) -> list[str]:
    """The network from input to output, a line each; with output shapes where they are known."""
    fields = architecture.model_dump(mode="json")
    shapes = {part.name: part.shape for part in network.parts} if network else {}

    def comment(name: str) -> str:
        return f"   # {'×'.join(map(str, shapes[name]))}" if name in shapes else ""

    def channels(widths: int | tuple[int, ...]) -> str:
        if isinstance(widths, int):
            return f"{widths} channels"
        return f"{widths[0]} to {widths[-1]} channels"

    size = f"{network.channels}×{network.size}×{network.size}" if network else "3 channels"
    stages = zip(architecture.depths, architecture.widths, architecture.all_strides, strict=True)
    block = fields["block"]["kind"]
    dropout = f"Dropout({setting(fields['dropout'])}) → " if fields["dropout"] else ""
    pooling = fields["pooling"]["kind"].capitalize()
    return [
        f"Input ({size})",
        f"Stem ({setting(fields['stem'])}){comment('stem')}",
        *(
            f"Stage {index + 1}: {depth}× {block} block ({channels(widths)}, stride {stride})"
            f"{comment(f'stages.{index}')}"
            for index, (depth, widths, stride) in enumerate(stages)
        ),
        f"{pooling} pooling → {dropout}Linear{comment('head')}",
    ]
