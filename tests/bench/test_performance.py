"""The page on performance says what the records say."""

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
WHERE = {
    "environment": {
        "device": "cpu, 2 threads",
        "processor": "Processor",
        "threads": 2,
        "packages": {"torch": "2.13.0"},
        "started": "2026-11-21T04:00:00+00:00",
    },
    "batch_size": 128,
    "precision": "float32",
}


def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks/performance.py"))


def test_the_page_holds_the_tables_of_the_records() -> None:
    sections = list(script()["sections"]())
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert [section for section in sections if section not in page] == []
    assert bool(sections) != ("Nothing was recorded yet" in page)


def test_tables_of_profiles_and_shapes() -> None:
    shares = {"resnet20": {"convolution": 0.75, "rest": 0.25}, "resnet44": {"convolution": 0.9}}
    shares["resnet44"]["rest"] = 0.1
    text = script()["profile"](WHERE | {"shares": shares})
    assert "Processor, 2 threads, torch 2.13.0, 2026-11-21, batch 128, float32." in text
    assert "| convolution | 75.0 % | 90.0 % |" in text
    shape = {"narrow": 3, "wide": 16, "kernel": 3, "stride": 2, "side": 32}
    shape |= {"forward": 0.5, "backward": 0.25, "used": {"resnet20": 1, "resnet44": 2}}
    text = script()["convolutions"](WHERE | {"rounds": 3, "shapes": [shape]})
    row = "| 3 to 16 | 3 x 3 | 2 | 32 x 32 | 50 % | 25 % | resnet20 1, resnet44 2 |"
    assert row in text
