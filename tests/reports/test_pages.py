"""The report's and the comparison's pages in a real browser."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from made_runs import RECIPE, finish, make_run, records
from pages import assert_page_is_sound, assert_prints_everything, opened

from residua.reports import write_report
from residua.reports.comparison import compare_runs, write_comparison
from residua.runs.run import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.extra("playwright", "axe_playwright_python", "chromium")]


def test_report_is_sound(browser: "Browser", finished: Run) -> None:
    page = write_report(finished)
    assert_page_is_sound(browser, page)
    assert_prints_everything(browser, page)


def test_report_of_a_running_training_is_sound(browser: "Browser", tmp_path: Path) -> None:
    assert_page_is_sound(browser, write_report(make_run(tmp_path / "run", log=records(1))))


def test_comparison_is_sound(browser: "Browser", tmp_path: Path) -> None:
    runs = []
    for name, size in (("narrow", 64), ("wide", 128)):
        for seed in (0, 1):
            recipe = RECIPE.replace(name=name, batch_size=size, seed=seed)
            run = make_run(tmp_path / f"{name}{seed}", recipe, records(8))
            runs.append(finish(run, last=60 + seed + size / 64, best=65 + seed))
    page = write_comparison(compare_runs(runs), tmp_path / "out")
    assert_page_is_sound(browser, page)
    assert_prints_everything(browser, page)


@pytest.mark.parametrize(("scheme", "motion"), [("light", "reduce"), ("dark", "no-preference")])
def test_the_animation_fits_the_page(
    browser: "Browser", finished: Run, scheme: str, motion: str
) -> None:
    """The source of its scheme is chosen, and shown at its own size or smaller."""
    path = write_report(finished)
    shown = "document.querySelector('picture img')"
    with opened(browser, path, 390, scheme, reduced_motion=motion) as page:
        page.get_by_text("The training as an animation").click()
        page.locator("picture img").scroll_into_view_if_needed()
        page.wait_for_function(f"{shown}.complete && {shown}.naturalWidth > 0")
        chosen = page.evaluate(f"{shown}.currentSrc")
        media = page.evaluate(
            "[...document.querySelectorAll('picture source')]"
            ".find((source) => matchMedia(source.media).matches).media"
        )
        assert ("dark" in media) == (scheme == "dark")
        assert ("reduced-motion" in media) == (motion == "reduce")
        source = page.evaluate(f"document.querySelector('source[media=\"{media}\"]').srcset")
        assert chosen == source
        scale = page.evaluate(f"{shown}.getBoundingClientRect().width / {shown}.naturalWidth")
        assert scale > 0.65, "11 pt text would be below 10 px"


def test_links_open_folded_sections(browser: "Browser", finished: Run) -> None:
    """Without a script: the anchors are inside the details."""
    with opened(browser, write_report(finished), 390, "light") as page:
        table = page.get_by_text("Most confused")
        assert not table.is_visible()
        page.get_by_role("link", name="Classes").click()
        table.wait_for(state="visible")
