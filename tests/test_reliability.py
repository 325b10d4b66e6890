"""docs/reliability.md: every promise has a test that exists, and every fault test a promise."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
WITHOUT = {"tests/faults/test_fuzz.py::test_what_is_changed_was_sound"}
"""Tests of the tests."""


def named() -> list[str]:
    """The tests that the page names; one without a file is in the file before it."""
    found, file = [], ""
    for path, name in re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`", PAGE):
        file = path or file
        found.append(f"{file}::{name}")
    return found


def defined_in(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = (node.name for node in nodes if isinstance(node, ast.FunctionDef))
    where = path.relative_to(ROOT).as_posix()
    return {f"{where}::{name}" for name in names if name.startswith("test_")}


def test_every_test_that_the_page_names_exists() -> None:
    for name in named():
        assert name in defined_in(ROOT / name.partition("::")[0]), name


def test_every_promise_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| [^|-]", line)]
    promises = [row for row in rows if not row.endswith("| test |")]
    assert len(promises) > 30
    assert all("::test_" in row for row in promises)


def test_every_fault_test_has_its_promise() -> None:
    found = set().union(*map(defined_in, (ROOT / "tests/faults").glob("test_*.py")))
    assert found - set(named()) == WITHOUT
