"""docs/references.md: what it names is there, and every document's system has its table."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from residua.recipes.loading import resolve
from residua.reports import published

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/references.md").read_text(encoding="utf-8")
TESTS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
OPTIONS = ("--reference", "--dir", "--until-epoch")
"""Of commands; all other words that begin so are fields of a recipe."""


def tables() -> Iterator[tuple[str, str]]:
    """Each system's name, and its section."""
    _, *pieces = re.split(r"^## `(\w+)`", PAGE, flags=re.MULTILINE)
    yield from zip(pieces[::2], pieces[1::2], strict=True)


def test_every_system_has_its_table() -> None:
    assert [name for name, _ in tables()] == list(published.SYSTEMS)


def test_files_and_tests_that_it_names_are_there() -> None:
    files = re.findall(r"`([\w/]+\.(?:py|csv))", PAGE)
    assert len(files) > 20
    for name in files:
        assert (ROOT / name).is_file() or (ROOT / "src/residua" / name).is_file(), name
    named = re.findall(r"(?<![.\w])(test_\w+)(?=`)", PAGE)
    assert len(named) > 5
    for name in named:
        assert f"def {name}(" in TESTS, name


def test_overrides_that_it_names_are_understood() -> None:
    checked = 0
    for system, text in tables():
        for words in re.findall(r"`(--[^`…]*)`", text):
            if not words.startswith(OPTIONS):
                assert resolve(system, shlex.split(words)) != resolve(system), words
                checked += 1
    assert checked > 5
