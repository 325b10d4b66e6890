"""The sections of stored evaluations, and their tables."""

import pytest
import torch
from test_run_report import assert_self_contained

from residua.inference.corruptions import KINDS
from residua.inference.metrics import figures
from residua.reports import write_report
from residua.reports.evaluations.charts import GROUPS, corruption_charts
from residua.reports.evaluations.tables import class_table, corruption_table, figures_table
from residua.runs.evaluations import (
    CorruptionRecord,
    EvaluationRecord,
    Outputs,
    save_corruptions,
    save_evaluation,
)

NAMES = [f"class_{index}" for index in range(6)]


@pytest.fixture
def record():
    """Two of six classes are one superclass; a temperature; mirrored views."""
    labels = torch.arange(60) % 6
    logits = 2.0 * torch.nn.functional.one_hot(labels.where(labels != 5, 0), 6)
    args = (labels, NAMES, (0, 0, 1, 1, 2, 2), ("<one>", "two", "three"))
    views = {"none": figures(logits, *args, 0.5), "mirror": figures(3 * logits, *args, 0.7)}
    return EvaluationRecord(name="test", images="test", epoch=8, views=views), logits, labels


def test_report_shows_evaluations_and_corruptions(finished, record):
    evaluation, logits, labels = record
    save_evaluation(finished, evaluation, Outputs(labels, logits, 3 * logits))
    accuracies = dict.fromkeys(KINDS, (90.0, 80.0, 70.0, 60.0, 50.0))
    corruptions = CorruptionRecord(epoch=8, images=60, clean=95.0, accuracies=accuracies)
    save_corruptions(finished, corruptions)
    page = write_report(finished).read_text()
    assert_self_contained(page)
    for text in ("TTA mirror", "Temperature, of the holdout", "All superclasses", "&lt;one&gt;",
                 "The mean corruption error is 30.00 %", "procedural texture"):  # fmt: skip
        assert text in page, text
    markdown = (finished.report_dir / "report.md").read_text()
    assert "figures/reliability-test.svg" in markdown
    assert "figures/corruptions-weather.svg" in markdown


def test_report_without_evaluations_has_no_section(finished):
    assert "Reliability" not in write_report(finished).read_text()


def test_figures_of_each_view_are_in_its_own_column(record):
    table = figures_table({"a": record[0].views["none"], "b": record[0].views["mirror"]})
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["Top-5"] == ("100.00 %", "100.00 %")
    assert rows["Accuracy"][0] == "83.33 % (71.97 to 90.69)"
    assert rows["Temperature, of the holdout"] == ("0.500", "0.700")
    assert rows["Superclass accuracy"][0] == "83.33 %"


def test_classes_begin_with_the_lowest_f1(record):
    rows = class_table(record[0].single.classes, "Class").rows
    assert [row[0] for row in rows[:3]] == ["class_5", "class_0", "class_1"]
    assert rows[0][1:] == ("10", "0", "0.00 %", "0.00 %", "0.00 %")


def test_every_kind_of_corruption_is_in_a_chart():
    assert sorted(kind for kinds in GROUPS.values() for kind in kinds) == sorted(KINDS)
    record = CorruptionRecord(epoch=1, images=5, clean=90.0, accuracies={"fog": (80.0,) * 5})
    (chart,) = corruption_charts(record)
    assert chart.name == "corruptions-weather.svg"
    assert b"all kinds" in chart.content
    table = corruption_table(record)
    assert table.rows == [
        ("fog", *["80.00 %"] * 5, "20.00 %"),
        ("Mean", *["80.00 %"] * 5, "20.00 %"),
    ]


@pytest.mark.extra("playwright", "chromium", "axe_playwright_python")
def test_report_with_evaluations_is_sound_in_a_browser(finished, record, browser):
    from pages import assert_page_is_sound

    evaluation, logits, labels = record
    save_evaluation(finished, evaluation, Outputs(labels, logits, 3 * logits))
    accuracies = dict.fromkeys(KINDS, (90.0, 80.0, 70.0, 60.0, 50.0))
    save_corruptions(
        finished, CorruptionRecord(epoch=8, images=60, clean=95.0, accuracies=accuracies)
    )
    assert_page_is_sound(browser, write_report(finished))
