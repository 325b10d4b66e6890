"""The tables of docs/scaling.md are those that benchmarks/scaling.py prints."""

from pathlib import Path

import pytest
import scaling

PAGE = Path(__file__).parents[2] / "docs/scaling.md"


def test_the_page_has_the_tables_of_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    scaling.print_tables()
    tables = [part for part in capsys.readouterr().out.split("\n\n") if part.startswith("| ")]
    assert len(tables) == 4
    page = PAGE.read_text(encoding="utf-8")
    for table in tables:
        assert table.strip() in page


def test_an_exchange_needs_the_bandwidth_and_the_latency() -> None:
    """Two ranks send half of the bytes each way, twice; four ranks three quarters."""
    assert scaling.exchange_seconds(1000, 2, (1000.0, 0.0)) == 1.0
    assert scaling.exchange_seconds(1000, 4, (1000.0, 0.25)) == 1.5 + 2 * 2 * 0.25


def test_a_short_exchange_hides_behind_the_backward_pass() -> None:
    link = (1000.0, 0.0)
    hidden = scaling.step_seconds(30.0, [1000, 100], 2, link)
    assert hidden == pytest.approx(30 + 0.1 + 0.008)
    exposed = scaling.step_seconds(0.3, [1000, 100], 2, link)
    assert exposed == pytest.approx(0.3 + 1.1 - 0.2 + 0.008)
