"""Pages in a real browser: accessibility, width, contrast and errors, on phones and in the dark."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
MIN_CONTRAST = 4.5
"""Of text (WCAG 2.1, 1.4.3)."""
SVG_TEXT_CONTRAST = """
() => {
  const rgba = (color) => {
    const canvas = document.createElement("canvas").getContext("2d");
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  };
  const over = (top, share, below) => below.map((value, i) => share * top[i] + (1 - share) * value);
  const channel = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const root = getComputedStyle(document.documentElement);
  const plate = rgba(root.getPropertyValue("--plate")).slice(0, 3);
  return [...document.querySelectorAll("svg text")].map((text) => {
    let behind = plate;
    const before = text.previousElementSibling;
    if (before && before.tagName === "rect") {
      const style = getComputedStyle(before);
      behind = over(rgba(style.fill), Number(style.fillOpacity), behind);
    }
    const style = getComputedStyle(text);
    const levels = [over(rgba(style.fill), Number(style.fillOpacity), behind), behind]
      .map(luminance).sort((a, b) => b - a);
    return [text.textContent.trim(), (levels[0] + 0.05) / (levels[1] + 0.05)];
  });
}
"""


@contextmanager
def opened(
    browser: "Browser", path: Path, width: int, scheme: str, **options: str
) -> Iterator["Page"]:
    """A page of a file; fails on console errors, and on requests for anything else."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, **options
    )
    problems: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    url = path.resolve().as_uri()
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((url, "data:"))
            else problems.append(f"request: {request.url}")
        ),
    )
    try:
        page.goto(url)
        yield page
        assert not problems, problems
    finally:
        context.close()


def assert_page_is_sound(browser: "Browser", path: Path) -> None:
    """Check a page at 390 and 1280 px, light and dark, folded and with all its details open.

    axe-core finds no violation, nothing is wider than the window, text of charts is readable,
    every image has an alternative text, headings skip no level, there is no script, and nothing
    is written to the console.
    """
    for width, scheme in product(WIDTHS, SCHEMES):
        with opened(browser, path, width, scheme) as page:
            _assert_fits(page)
            _assert_no_violations(page)
            page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            _assert_fits(page)
            _assert_no_violations(page)
            _assert_chart_text_is_readable(page)
    _assert_structure(page_source := path.read_text(encoding="utf-8"))
    assert "<script" not in page_source


def assert_prints_everything(browser: "Browser", path: Path) -> None:
    """Printed on A4, no details are folded, nothing is cut at the right, and colours are light."""
    with opened(browser, path, 700, "dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        # The browser unfolds them with the next frame.
        page.wait_for_function(
            "[...document.querySelectorAll('details > :not(summary)')]"
            ".every((element) => element.checkVisibility({contentVisibilityAuto: true}))"
        )
        _assert_fits(page)
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 33, 41)"


def _assert_fits(page: "Page") -> None:
    widths = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert widths[0] <= widths[1], f"the page is {widths[0]} px wide in {widths[1]} px"


def _assert_no_violations(page: "Page") -> None:
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    found = [
        f"{violation['id']} ({violation['help']}): {node['html'][:200]} {node['failureSummary']}"
        for violation in violations
        for node in violation["nodes"][:3]
    ]
    assert not found, "\n".join(found)


def _assert_chart_text_is_readable(page: "Page") -> None:
    low = [item for item in page.evaluate(SVG_TEXT_CONTRAST) if item[1] < MIN_CONTRAST]
    assert not low, low[:5]


def _assert_structure(html: str) -> None:
    images = re.findall(r"<img [^>]*>", html)
    assert not [image[:80] for image in images if not re.search(r'alt="[^"]', image)]
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    steps = pairwise(levels)
    assert all(after <= before + 1 for before, after in steps), levels
