"""Pages that explain predictions, and pages of a network's mistakes."""

from residua.reports.explanations.mistakes import write_mistakes
from residua.reports.explanations.predictions import (
    ExplainedImage,
    NearestImage,
    write_explanations,
)

__all__ = ["ExplainedImage", "NearestImage", "write_explanations", "write_mistakes"]
