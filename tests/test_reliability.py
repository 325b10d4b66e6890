"""docs/reliability.md: every promise names a test that exists, and every fault test is named."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
TESTS_OF_TESTS = {"tests/faults/test_fuzz.py::test_inputs_are_valid_before_they_are_changed"}
"""They need no promise."""


def named_tests() -> list[str]:
    """The tests that the page names; one without a file is in the file of the one before it."""
    tests, file = [], ""
    for path, name in re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`", PAGE):
        file = path or file
        tests.append(f"{file}::{name}")
    return tests


def defined_tests(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = (node.name for node in nodes if isinstance(node, ast.FunctionDef))
    file = path.relative_to(ROOT).as_posix()
    return {f"{file}::{name}" for name in names if name.startswith("test_")}


def test_every_named_test_exists() -> None:
    for name in named_tests():
        assert name in defined_tests(ROOT / name.partition("::")[0]), name


def test_every_promise_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| [^|-]", line)]
    promises = [row for row in rows if not row.endswith("| test |")]
    assert len(promises) > 30
    assert all("::test_" in row for row in promises)


def test_every_fault_test_is_named() -> None:
    tests = set().union(*map(defined_tests, (ROOT / "tests/faults").glob("test_*.py")))
    assert tests - set(named_tests()) == TESTS_OF_TESTS
