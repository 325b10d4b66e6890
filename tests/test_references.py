"""docs/references.md: what it names exists, and every published system has its table."""

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
"""Options of commands; every other option is a field of a recipe."""


def sections() -> Iterator[tuple[str, str]]:
    """The name of each system, and its section."""
    _, *pieces = re.split(r"^## `(\w+)`", PAGE, flags=re.MULTILINE)
    yield from zip(pieces[::2], pieces[1::2], strict=True)


def test_every_system_has_its_table() -> None:
    assert [name for name, _ in sections()] == list(published.SYSTEMS)


def test_named_files_and_tests_exist() -> None:
    files = re.findall(r"`([\w/]+\.(?:py|csv))", PAGE)
    assert len(files) > 20
    for name in files:
        assert (ROOT / name).is_file() or (ROOT / "src/residua" / name).is_file(), name
    tests = re.findall(r"(?<![.\w])(test_\w+)(?=`)", PAGE)
    assert len(tests) > 5
    for name in tests:
        assert f"def {name}(" in TESTS, name


def test_named_overrides_are_valid() -> None:
    checked = 0
    for system, text in sections():
        for words in re.findall(r"`(--[^`…]*)`", text):
            if not words.startswith(OPTIONS):
                assert resolve(system, shlex.split(words)) != resolve(system), words
                checked += 1
    assert checked > 5
