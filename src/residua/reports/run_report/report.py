"""The report as a document."""

import shlex
from dataclasses import replace

from residua.reports.evaluations.sections import evaluation_sections
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import flatten, setting
from residua.reports.kit.images import ImageFile, contact_sheet, picture
from residua.reports.kit.tables import Table
from residua.reports.run_data import RunData, data_title
from residua.reports.run_report import summary
from residua.reports.run_report.advice import mixes_images
from residua.reports.run_report.analysis import gap_section, key_epochs_section
from residua.reports.run_report.class_results import class_section, mistakes_section
from residua.reports.run_report.configuration import configuration_section
from residua.reports.run_report.contents import Contents
from residua.reports.run_report.curves import curves_section
from residua.reports.run_report.network import network_section
from residua.runs.artifacts import Samples
from residua.runs.environment import RunEnvironment

FOOTER = "Written by residua from the files of the run."


def report_document(contents: Contents, published: doc.Section | None) -> doc.Document:
    """The report of a run: what a reader wants first is open, everything else folded.

    Args:
        contents: the run.
        published: the comparison with a published system.
    """
    run = contents.run
    started = run.environment.started.replace("T", " ").replace("+00:00", " UTC")
    facts = ["Training report", data_title(run.recipe.data)]
    facts += [f"started {started}"] if started else []
    metrics = summary.metrics(run, contents.structure, contents.flops)
    return doc.Document(
        title=run.title,
        subtitle=" · ".join(facts),
        intro=[doc.Metrics(metrics), *summary.notes(run)],
        sections=[
            curves_section(run, contents.charts, contents.animation),
            *([published] if published else []),
            gap_section(run),
            *evaluation_sections(contents.evaluations, contents.corruptions),
            *(
                replace(section, folded=True)
                for section in (
                    class_section(contents.predictions),
                    mistakes_section(contents.predictions),
                    key_epochs_section(run),
                    _augmentation_section(run, contents.samples),
                    network_section(contents.structure),
                    configuration_section(run.recipe),
                    doc.Section("Environment", [environment_block(run.environment)]),
                )
            ),
        ],
        footer=FOOTER,
    )


def _augmentation_section(run: RunData, samples: Samples | None) -> doc.Section:
    """Training images before and after augmentation."""
    if samples is None:
        return doc.Section("Augmentation", ["The run has no sample images."])
    tiles = [
        doc.Tile([picture(before, f"Image of {name}"), picture(after, "augmented")], [name])
        for before, after, label in zip(
            samples.originals, samples.augmented, samples.labels.tolist(), strict=True
        )
        for name in [samples.classes[label]]
    ]
    alt = "Training images, and below each its augmented version"
    sheet = contact_sheet([samples.originals, samples.augmented])
    caption = (
        "The first images of the training set, and below each its augmented version in the first "
        "step."
    )
    if mixes_images(run.recipe):
        caption += " Where two images are mixed, the name is that of the first."
    gallery = doc.Gallery(["Class"], tiles, ImageFile("augmentation.png", alt, sheet))
    return doc.Section("Augmentation", [gallery, doc.Caption(caption)])


def environment_block(environment: RunEnvironment) -> doc.Block:
    """What a run was started on: dotted names and values."""
    tree = environment.model_dump(mode="json", exclude_defaults=True, exclude={"resumed"})
    fields = flatten(tree)
    rows = [
        (name, shlex.join(value) if isinstance(value, list) else setting(value))
        for name, value in fields
    ]
    return Table(("", ""), rows, 2) if rows else "The run did not record its environment."
