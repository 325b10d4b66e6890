"""The page that explains predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from residua.augment.tta import TTA_DESCRIPTIONS
from residua.inference.explain import (
    Attribution,
    Explanation,
    channel_mosaic,
    filter_mosaic,
    overlay_attribution,
    overlay_heatmap,
)
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import percent, shape
from residua.reports.kit.html import write_html
from residua.reports.kit.images import ImageFile, mosaic_file, picture
from residua.reports.kit.tables import Table
from residua.reports.run_data import data_title
from residua.runs.model_file import ModelInfo

PAGE = "explain.html"
MAX_CHANNELS = 32
MAX_FILTERS = 144
MAX_SIDE = 384
"""Of an overlay, in pixels."""
MOSAIC_WIDTH = 600
"""Of a mosaic in pixels, to which it is enlarged by a whole factor."""
READING = (
    doc.Text(
        doc.Strong("Grad-CAM"),
        " (Selvaraju et al., arXiv:1610.02391) shows where the last stage supports the class: "
        "bright yellow is strong support, dark is none. It is as coarse as the stage's output.",
    ),
    doc.Text(
        doc.Strong("Integrated gradients"),
        " (Sundararajan et al., arXiv:1703.01365) share the class's logit among the pixels: blue "
        "pixels add to it, orange ones take from it, compared with an image of the training set's "
        "mean colour. The shares sum to the difference of the two logits (completeness).",
    ),
    doc.Text(
        doc.Strong("Nearest training images"),
        " have the least cosine distance in the space that the last, linear layer sees. They tell "
        "what the network takes for alike, not what made it decide.",
    ),
    doc.Text(
        doc.Strong("Feature maps"),
        " are outputs of layers, each stretched from its least to its largest value.",
    ),
    doc.Text(
        "An explanation describes the network, not the world: a plausible picture does not make "
        "a prediction right."
    ),
)


@dataclass(frozen=True)
class NearestImage:
    """A training image near an explained one."""

    image: Tensor
    """(3, H, W) uint8."""
    label: str
    index: int
    """In the training set."""
    similarity: float
    """Cosine."""


@dataclass(frozen=True)
class ExplainedImage:
    """An image, and what the page says about it."""

    name: str
    """As the user gave it."""
    label: str | None
    """The true class, where it is known."""
    explanation: Explanation
    nearest: Sequence[NearestImage] = ()


def write_explanations(
    info: ModelInfo,
    images: Sequence[ExplainedImage],
    filters: Tensor,
    directory: Path,
    no_neighbors: str = "",
) -> Path:
    """Write explain.html, which needs no other file.

    Args:
        info: the description of the network.
        images: what to show.
        filters: of the first layer, (M, 3, k, k).
        directory: where to write; it must exist.
        no_neighbors: why there are no nearest images; empty where there are.

    Returns:
        The path of the page.

    Raises:
        OSError: the page cannot be written.
    """
    path = directory / PAGE
    write_html(_document(info, images, filters, no_neighbors), path)
    return path


def completeness(attribution: Attribution, target: str) -> str:
    """A sentence on the completeness of integrated gradients."""
    sums = (
        f"Integrated gradients of {target} sum to {attribution.total:.4f}; its logit minus that of "
        f"the baseline is {attribution.difference:.4f}"
    )
    verdict = "completeness holds" if attribution.is_complete else "completeness does not hold"
    return f"{sums}: {verdict} (error {attribution.error:.4f}, {attribution.steps} steps)."


def top_table(explanation: Explanation) -> Table:
    """The five most probable classes."""
    rows = [(name, "█" * round(20 * p), percent(100 * p)) for name, p in explanation.top]
    return Table(("Class", "", "Probability"), rows, text_columns=2)


def _document(
    info: ModelInfo, images: Sequence[ExplainedImage], filters: Tensor, no_neighbors: str
) -> doc.Document:
    probabilities = (
        f"Probabilities average the logits of {TTA_DESCRIPTIONS[info.tta]}; everything else is of "
        "the image alone."
    )
    sections = [
        _image_section(number, image, no_neighbors) for number, image in enumerate(images, 1)
    ]
    reading: list[doc.Block] = [doc.Bullets(READING), probabilities]
    return doc.Document(
        title=f"{info.recipe.name}: predictions explained",
        subtitle=f"Explanations · {data_title(info.recipe.data)} · epoch {info.epoch}",
        intro=[_summary(images)],
        sections=[
            *sections,
            doc.Section("First-layer filters", _filters(filters), "Filters"),
            doc.Section("How to read this page", reading, "How to read"),
        ],
        footer="Written by residua.",
    )


def _summary(images: Sequence[ExplainedImage]) -> Table:
    rows = [
        (image.name, image.label or "not known", name, percent(100 * p))
        for image in images
        for name, p in image.explanation.top[:1]
    ]
    return Table(("Image", "True class", "Prediction", "Probability"), rows, text_columns=3)


def _image_section(number: int, image: ExplainedImage, no_neighbors: str) -> doc.Section:
    explanation = image.explanation
    sums = doc.Caption(completeness(explanation.attribution, explanation.target))
    blocks: list[doc.Block] = [
        _verdict(image),
        doc.Columns([[_overlays(explanation), sums], [top_table(explanation)]]),
        doc.Heading("Nearest training images"),
        _neighbors(image, no_neighbors),
        doc.Details("Feature maps", _feature_maps(number, explanation)),
    ]
    return doc.Section(image.name, blocks, f"{number}. {Path(image.name).name}")


def _verdict(image: ExplainedImage) -> doc.Text:
    name, probability = image.explanation.top[0]
    parts: list[str | doc.Strong] = ["Classified as "]
    if image.label is None:
        parts += [doc.Strong(name), f" ({percent(100 * probability)})."]
    elif image.label == name:
        parts += [doc.Strong(name, "good"), f" ({percent(100 * probability)}), which is right."]
    else:
        parts += [doc.Strong(name, "bad"), f" ({percent(100 * probability)}); its label is "]
        parts += [doc.Strong(image.label), "."]
    if image.explanation.target != name:
        parts.append(f" The pictures explain the class {image.explanation.target}.")
    return doc.Text(*parts)


def _overlays(explanation: Explanation) -> doc.Gallery:
    image, target = explanation.image, explanation.target
    scale = max(1, MAX_SIDE // max(image.shape[1:]))
    heat = overlay_heatmap(image, explanation.heatmap, scale)
    shares = overlay_attribution(image, explanation.attribution.values, 1)
    return doc.Gallery(
        ("Picture", "Class"),
        [
            doc.Tile([picture(image, "The image as the network sees it")], ["Image"]),
            doc.Tile(
                [picture(heat, f"The image, and {_place(explanation.heatmap)}", MAX_SIDE)],
                ["Grad-CAM", target],
            ),
            doc.Tile(
                [picture(shares, f"The image in grey; {_signs(explanation.attribution.values)}")],
                ["Integrated gradients", target],
            ),
        ],
        large=True,
    )


def _place(heatmap: Tensor) -> str:
    """Where a heat map (H, W) is brightest, in words."""
    if not heatmap.any():
        return "no region that supports the class"
    height, width = heatmap.shape
    row, column = divmod(int(heatmap.argmax()), width)
    vertical = ("top", "middle", "bottom")[3 * row // height]
    horizontal = ("left", "centre", "right")[3 * column // width]
    share = 100 * float((heatmap > 0.5).double().mean())
    return (
        f"the region that supports the class, strongest at the {vertical} {horizontal}; "
        f"{share:.0f} % of the image has at least half that strength"
    )


def _signs(values: Tensor) -> str:
    """What an attribution (3, H, W) adds and takes, in words."""
    pixels = values.sum(0)
    added, taken = float(pixels.clamp(min=0).sum()), float(-pixels.clamp(max=0).sum())
    return f"blue pixels add {added:.2f} to the logit, orange ones take {taken:.2f} from it"


def _neighbors(image: ExplainedImage, no_neighbors: str) -> doc.Block:
    if no_neighbors:
        return no_neighbors
    tiles = [
        doc.Tile(
            [picture(near.image, f"Training image {near.index} of {near.label}")],
            [near.label, f"{near.similarity:.3f}", f"train:{near.index}"],
        )
        for near in image.nearest
    ]
    return doc.Gallery(("Class", "Cosine similarity", "Image"), tiles)


def _feature_maps(number: int, explanation: Explanation) -> list[doc.Block]:
    blocks: list[doc.Block] = []
    for layer, channels in explanation.maps.items():
        shown = min(MAX_CHANNELS, len(channels))
        many = f"the {shown} strongest of {len(channels)} channels"
        text = f"{layer}: {many}, {shape(channels.shape[1:])} pixels each"
        drawing = channel_mosaic(channels.cpu(), MAX_CHANNELS)
        name = f"maps-{number}-{len(blocks)}.png"
        blocks.append(doc.Figures([_mosaic(name, f"Feature maps of {text}", drawing)], wide=True))
        blocks.append(doc.Caption(f"{text[0].upper()}{text[1:]}."))
    return blocks


def _filters(filters: Tensor) -> list[doc.Block]:
    shown = min(MAX_FILTERS, len(filters))
    sizes = f"{shown} of {len(filters)} filters, {shape(filters.shape[1:])} each"
    drawing = filter_mosaic(filters, MAX_FILTERS)
    figure = _mosaic("filters.png", f"First-layer filters: {sizes}", drawing)
    caption = f"{sizes}, every filter stretched from its least to its largest weight."
    return [doc.Figures([figure], wide=True), doc.Caption(caption)]


def _mosaic(name: str, alt: str, drawing: Tensor) -> ImageFile:
    return mosaic_file(name, alt, drawing, max(1, MOSAIC_WIDTH // drawing.shape[1]))
