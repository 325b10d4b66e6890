"""results.csv: the log of a run as a table, for spreadsheets and for programs that read CSV."""

import csv
import io

from residua.runs.records import EpochRecord

COLUMNS = (
    "epoch", "step", "lr", "train_loss", "train_accuracy", "holdout_loss", "holdout_accuracy",
    "holdout_top5", "test_loss", "test_accuracy", "test_top5", "grad_norm", "seconds",
    "evaluation_seconds", "images_per_second", "memory_mib",
)  # fmt: skip
"""Fields of `EpochRecord`; losses in nats, accuracies in percent."""


def header_row() -> str:
    """The first line, without its end."""
    return ",".join(COLUMNS)


def csv_row(record: EpochRecord) -> str:
    """The line of an epoch, without its end; a cell is empty where nothing was measured."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(getattr(record, name) for name in COLUMNS)
    return text.getvalue()
