"""The report of a run: finished, unfinished, of few classes and of many."""

import re
import time
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import torch
from made_runs import RECIPE, finish, make_run, records, save_predictions, save_samples

from residua.devices import peak_memory, reset_peak_memory
from residua.recipes.divergence import RollBack
from residua.recipes.recipe import Recipe
from residua.reports import write_report
from residua.reports.kit import document as doc
from residua.reports.kit.markdown import _render
from residua.runs.environment import Environment, RunEnvironment

HOSTILE = "<script>alert('1')</script>|`*[x](http://evil.example)"
VOID = {"source", "meta", "img", "br", "wbr", "rect", "link", "use", "path"}


class Page(HTMLParser):
    """The references, tags and ids of a page; tags must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.references, self.tags, self.open, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        sources = ("src", "href", "xlink:href", "srcset", "action")
        self.references += [attributes[name] for name in sources if name in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def assert_self_contained(html):
    """The page is well-formed, without scripts, and refers to nothing outside itself."""
    page = Page(html)
    assert page.open == []
    assert not {"script", "link"} & set(page.tags)
    assert all(reference.startswith(("data:image/", "#")) for reference in page.references)
    assert {reference[1:] for reference in page.references if reference[0] == "#"} <= set(page.ids)
    assert re.findall(r"url\((?!#)", html) == []
    assert "@import" not in html


def pages(run):
    """The report as HTML and as Markdown."""
    html = write_report(run)
    assert html == run.report_dir / "report.html"
    return html.read_text(encoding="utf-8"), markdown_of(run)


def markdown_of(run):
    return (run.report_dir / "report.md").read_text(encoding="utf-8")


def linked(markdown):
    return re.findall(r"!\[[^\]]*\]\(([^)]+)\)", markdown)


def test_finished_run_is_reported_completely(finished):
    for text in pages(finished):
        for figure in ("60.12 %", "63.45 %", "80.12 %", "1,500 images/s", "cpu, 2 threads"):
            assert figure in text
        assert "selected on the test set, so its accuracy is optimistic" in text
        assert "reached in epoch 5" in text
        assert "residua train recipe.json" in text
        assert "Stage 2" in text


def table_rows(markdown, section):
    """The cells of the first table of a section, without its head."""
    text = markdown.split(f"\n## {section}\n")[1].strip().split("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]


def test_figures_of_report_are_those_of_log(finished):
    _, markdown = pages(finished)
    log = {str(record.epoch): record for record in finished.log}
    rows = table_rows(markdown, "Key epochs")
    assert [row[0] for row in rows] == ["1", "2", "4", "5", "6", "7", "8"]
    for epoch, _, *figures in rows:
        record = log[epoch]
        assert figures == [
            f"{record.train_loss:.4f}",
            f"{record.train_accuracy:.2f} %",
            f"{record.test_loss:.4f}",
            f"{record.test_accuracy:.2f} %",
            f"{record.lr:.3g}",
            f"{record.grad_norm:.3g}",
        ]
    seconds = sum(record.seconds for record in finished.log)
    assert f"| Training time | {seconds:.1f} s |" in markdown
    gap = log["8"].train_accuracy - log["8"].test_accuracy
    assert f"**+{gap:.2f} points** in the last epoch (8)" in markdown


def test_page_is_self_contained(finished):
    html, _ = pages(finished)
    assert_self_contained(html)


def test_markdown_links_to_existing_files(finished):
    _, markdown = pages(finished)
    names = linked(markdown)
    assert len(names) == 8
    assert all((finished.report_dir / name).stat().st_size for name in names)
    assert not list(finished.report_dir.rglob("*.partial"))


def test_same_run_gives_same_report(finished):
    assert pages(finished) == pages(finished)


@pytest.mark.parametrize("count", [0, 1])
def test_unfinished_run_is_called_unfinished(tmp_path, count):
    run = make_run(tmp_path / "run", log=records(count))
    html, markdown = pages(run)
    for text in (html, markdown):
        assert f"unfinished: {count} of 8 epochs" in text
        assert "there are none yet" in text
        assert ("No epoch is finished yet" in text) == (count == 0)
    assert len(linked(markdown)) == (4 if count else 0)
    assert_self_contained(html)


def test_missing_report_directory_is_created(finished):
    finished.report_dir.rmdir()
    assert write_report(finished).is_file()


def test_open_page_is_refreshed_only_on_request(finished):
    assert 'http-equiv="refresh" content="20"' in write_report(finished, refresh=20).read_text()
    assert "http-equiv" not in write_report(finished).read_text()


@pytest.mark.parametrize(("count", "suffix"), [(30, "svg"), (31, "png")])
def test_confusion_matrix_names_few_classes(tmp_path, count, suffix):
    classes = [f"kind {index}" for index in range(count)]
    run = make_run(tmp_path / "run", log=records(2))
    save_samples(run, classes)
    save_predictions(run, classes)
    html, markdown = pages(finish(run))
    assert f"figures/confusion.{suffix}" in markdown
    assert "kind 0" in html
    assert "Best classes" in html
    assert "Worst classes" in html
    assert f"| kind {count - 1} | kind 0 | 1 | 25.00 % |" in markdown or count > 15


def test_names_are_escaped(tmp_path):
    run = make_run(tmp_path / "run", log=records(2))
    run.write_json("environment.json", Environment(device=HOSTILE, started=HOSTILE))
    save_samples(run, [HOSTILE, "plain\nname"])
    save_predictions(run, [HOSTILE, "plain\nname"])
    html, markdown = pages(finish(run))
    assert "script" not in Page(html).tags
    log = (run.report_dir / "training-log.md").read_text()
    svg = (run.report_dir / "figures/confusion.svg").read_text()
    for text in (html, markdown, svg, log):
        assert "<script" not in text
        assert "&lt;script&gt;" in text or "&#60;script&#62;" in text
    assert "](http" not in markdown + log
    assert "plain name" in markdown


def test_holdout_and_tta_are_noted(tmp_path):
    recipe = Recipe(name="tiny", epochs=4, tta="mirror")
    run = make_run(tmp_path / "run", recipe, records(4, "holdout"))
    finish(run, split="holdout", tta="mirror")
    for text in pages(run):
        assert "selected on the holdout set" in text
        assert "average the logits of each image and its mirror image" in text
        assert "Gap between training and holdout accuracy" in text
        assert "optimistic" not in text


def test_epochs_without_evaluation_are_noted(tmp_path):
    run = make_run(tmp_path / "run", log=records(5, every=2))
    for text in pages(run):
        assert "Not every epoch was evaluated" in text


def test_run_without_mistakes(tmp_path):
    run = make_run(tmp_path / "run", log=records(2))
    save_predictions(run, ["one"])
    for text in pages(finish(run)):
        assert "No image was misclassified" in text


def test_changes_of_the_environment_are_noted(tmp_path):
    run = make_run(tmp_path / "run", RECIPE, records(8))
    before = RunEnvironment(device="cpu, 2 threads")
    after = before.replace(device="cpu, 1 thread")
    run.write_json("environment.json", before.resumed_by(after, 1234))
    finish(run)
    for text in pages(run):
        assert "from step 1,234: device is cpu, 1 thread, was cpu, 2 threads" in text


def test_rollbacks_and_lost_best_epoch_are_noted(tmp_path):
    recipe = RECIPE.replace(on_divergence=RollBack(factor=0.25))
    run = make_run(tmp_path / "run", recipe, records(8, rollbacks=2))
    finish(run)
    for text in pages(run):
        assert "rolled back to a checkpoint 2 times, each time with learning rates" in text
        assert "multiplied by 0.25" in text
        assert "was damaged" not in text
    finish(run, lost_best_epoch=7)
    for text in pages(run):
        assert "checkpoint of the best epoch, 7, was damaged; the last" in text


def test_control_characters_reach_no_file(tmp_path):
    """Neither pages, nor Markdown, nor figures, which would not be well-formed."""
    control = "a\x1b[31m\x00\x0b\x9b\ufffe\rb"
    log = records(3, grad_norms={control: 0.1, "head": 1.0}, gradient_warning=control)
    run = make_run(tmp_path / "run", RECIPE.replace(epochs=3), log)
    run.write_json("environment.json", RunEnvironment(device=control, processor=control))
    save_samples(run, [control, "b", "c"])
    save_predictions(run, [control, "b", "c"])
    finish(run)
    write_report(run)
    texts = [path for path in run.report_dir.rglob("*") if path.suffix in (".html", ".md", ".svg")]
    assert len(texts) > 5
    for path in texts:
        assert not re.search(r"[^\n\t\x20-\x7e\xa0-\ufffd]", path.read_text("utf-8")), path
        if path.suffix == ".svg":
            ElementTree.parse(path)
    drawings = "".join(path.read_text("utf-8") for path in texts if path.suffix == ".svg")
    assert "a\ufffd[31m\ufffd\ufffd\ufffd\ufffd\ufffdb" in drawings


def test_code_with_backticks_stays_code():
    document = doc.Document("T", "", [doc.Code("a\n```\n# b")], [])
    assert "````\na\n```\n# b\n````" in "\n".join(_render(document.intro, []))


def test_ten_thousand_classes_are_reported_within_time_and_memory(tmp_path):
    classes = [f"class {number}" for number in range(10_000)]
    run = make_run(tmp_path / "run", RECIPE.replace(epochs=3), records(3))
    save_samples(run, classes)
    save_predictions(run, classes, per_class=2)
    finish(run)
    started, cpu = time.process_time(), torch.device("cpu")
    reset_peak_memory(cpu)
    before = peak_memory(cpu)
    html, markdown = pages(run)
    assert time.process_time() - started < 20
    assert peak_memory(cpu) - before < 500
    for text in (html, markdown):
        assert "The confusion matrix of 10,000 classes is not drawn: up to 500 are." in text
        assert len(text) < 2**20
    assert ["class 0", "class 1", "1", "50.00 %"] in [
        re.split(r" *\| *", line)[1:-1] for line in markdown.splitlines() if line[:1] == "|"
    ]
