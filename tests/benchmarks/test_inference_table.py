"""docs/performance.md holds the table of the recorded speeds of inference."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.extra("onnxruntime")
ROOT = Path(__file__).parents[2]


def test_the_page_contains_the_table_of_the_record() -> None:
    import inference

    text = (ROOT / "records/2026-11-25-inference/pocket.json").read_text(encoding="utf-8")
    record = inference.InferenceRecord.model_validate_json(text)
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert inference.table(record) in page
    assert str(record.quantization) in page
