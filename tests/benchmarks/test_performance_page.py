"""docs/performance.md holds the tables of records/bench."""

from pathlib import Path

import performance

ROOT = Path(__file__).parent.parent.parent
CONDITIONS = {
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


def test_the_page_contains_the_tables_of_all_records() -> None:
    sections = list(performance.sections())
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert sections
    assert [section for section in sections if section not in page] == []


def test_profile_table() -> None:
    shares = {"resnet20": {"convolution": 0.75, "rest": 0.25}, "resnet44": {"convolution": 0.9}}
    shares["resnet44"]["rest"] = 0.1
    text = performance.profile(CONDITIONS | {"shares": shares})
    assert "Processor, 2 threads, torch 2.13.0, 2026-11-21, batch 128, float32." in text
    assert "| convolution | 75.0 % | 90.0 % |" in text


def test_convolution_table() -> None:
    shape = {"in_channels": 3, "out_channels": 16, "kernel_size": 3, "stride": 2, "image_size": 32}
    shape |= {"forward": 0.5, "backward": 0.25, "uses": {"resnet20": 1, "resnet44": 2}}
    text = performance.convolutions(CONDITIONS | {"rounds": 3, "shapes": [shape]})
    row = "| 3 to 16 | 3 x 3 | 2 | 32 x 32 | 50 % | 25 % | 1 in resnet20, 2 in resnet44 |"
    assert row in text
