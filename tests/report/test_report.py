"""The report of a run: finished, unfinished, of few classes and of many."""

import re
from html.parser import HTMLParser

import pytest
from made_runs import RECIPE, finish, make_run, records, save_predictions, save_samples

from residua.recipes.divergence import RollBack
from residua.recipes.recipe import Recipe
from residua.reports import write_report

HOSTILE = "<script>alert('1')</script>|`*[x](http://evil.example)"
VOID = {"source", "meta", "img", "br", "wbr", "rect", "link", "use", "path"}


class Page(HTMLParser):
    """What a page refers to, whether its tags close, and what its tags are."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.tags, self.open, self.ids = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.ids.add(found.get("id"))
        self.addresses += [
            found[key] for key in ("src", "href", "xlink:href", "srcset", "action") if key in found
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def pages(run):
    html = write_report(run)
    assert html == run.report / "report.html"
    return html.read_text(encoding="utf-8"), (run.report / "report.md").read_text(encoding="utf-8")


def linked(markdown):
    return re.findall(r"!\[[^\]]*\]\(([^)]+)\)", markdown)


def test_a_finished_run_is_told_whole(finished):
    html, markdown = pages(finished)
    for text in (html, markdown):
        assert "60.12 %" in text
        assert "63.45 %" in text
        assert "80.12 %" in text
        assert "test set itself" in text
        assert "reached in epoch 5" in text
        assert "residua train recipe.json" in text
        assert "1,500 images/s" in text
        assert "cpu, 2 threads" in text
        assert "Stage 2" in text


def test_the_page_needs_nothing_else(finished):
    html, _ = pages(finished)
    page = Page(html)
    assert page.open == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address[0] == "#"} <= page.ids
    assert re.findall(r"url\((?!#)", html) == []
    assert "@import" not in html


def test_the_markdown_links_to_files_that_exist(finished):
    _, markdown = pages(finished)
    names = linked(markdown)
    assert len(names) == 8
    assert all((finished.report / name).stat().st_size for name in names)
    assert not list(finished.report.rglob("*.partial"))


def test_the_same_run_gives_the_same_report(finished):
    assert pages(finished) == pages(finished)


@pytest.mark.parametrize("count", [0, 1])
def test_an_unfinished_run_says_so(tmp_path, count):
    run = make_run(tmp_path / "run", log=records(count))
    html, markdown = pages(run)
    for text in (html, markdown):
        assert f"unfinished: {count} of 8 epochs" in text
        assert "there are none yet" in text
        assert ("No epoch is finished yet" in text) == (count == 0)
    assert len(linked(markdown)) == (4 if count else 0)
    assert Page(html).open == []


def test_a_run_that_lost_its_report_directory_gets_it_again(finished):
    finished.report.rmdir()
    assert write_report(finished).is_file()


@pytest.mark.parametrize(("count", "name"), [(30, "svg"), (31, "png")])
def test_the_confusion_matrix_names_its_classes_where_they_are_few(tmp_path, count, name):
    classes = [f"kind {place}" for place in range(count)]
    run = make_run(tmp_path / "run", log=records(2))
    save_samples(run, classes)
    save_predictions(run, classes)
    finish(run)
    html, markdown = pages(run)
    assert f"figures/confusion.{name}" in markdown
    assert "kind 0" in html
    assert html.count('class="scores') == 2
    assert f"| kind {count - 1} | kind 0 | 1 | 25.00 % |" in markdown or count > 15


def test_names_from_folders_are_escaped(tmp_path):
    classes = [HOSTILE, "plain\nname"]
    run = make_run(tmp_path / "run", log=records(2))
    run.write_json("environment.json", {"device": HOSTILE, "started": HOSTILE})
    save_samples(run, classes)
    save_predictions(run, classes)
    finish(run)
    html, markdown = pages(run)
    assert "script" not in Page(html).tags
    for text in (html, markdown, (run.report / "figures/confusion.svg").read_text()):
        assert "<script" not in text
        assert "&lt;script&gt;" in text or "&#60;script&#62;" in text
    assert "](http" not in markdown
    assert "plain name" in markdown


def test_a_holdout_and_mirrored_views_are_said(tmp_path):
    recipe = Recipe(name="tiny", epochs=4, views="mirror")
    run = make_run(tmp_path / "run", recipe, records(4, "holdout"))
    finish(run, "holdout", "mirror")
    for text in pages(run):
        assert "chosen on the holdout set" in text
        assert "averages the logits of each image and its mirror image" in text
        assert "Training against holdout" in text
        assert "test set itself" not in text


def test_epochs_without_evaluation_are_borne(tmp_path):
    run = make_run(tmp_path / "run", log=records(5, every=2))
    for text in pages(run):
        assert "Not every epoch was evaluated" in text


def test_a_perfect_network_made_no_mistakes(tmp_path):
    run = make_run(tmp_path / "run", log=records(2))
    save_predictions(run, ["one"])
    finish(run)
    for text in pages(run):
        assert "No image was taken for another class" in text


def test_roll_backs_and_a_lost_best_are_said(tmp_path):
    recipe = RECIPE.model_copy(update={"on_divergence": RollBack(factor=0.25)})
    log = records(8)
    for record in log[4:]:
        record["rollbacks"] = 2
    run = make_run(tmp_path / "run", recipe, log)
    finish(run)
    for text in pages(run):
        assert "went back to a checkpoint 2 times, each time with learning rates" in text
        assert "multiplied by 0.25" in text
        assert "was damaged" not in text
    run.write_json("result.json", run.result | {"best_lost": 7})
    for text in pages(run):
        assert "checkpoint of the best epoch, 7, was damaged: the last" in text
