"""The README says what the records say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_readme_holds_the_table_of_the_records() -> None:
    table = runpy.run_path(str(ROOT / "benchmarks/records.py"))["table"]()
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")
