"""Lines of the log, as the documents print them."""

import pytest

from residua.runs import log_lines
from residua.runs.records import EpochRecord

RECORD = EpochRecord(
    epoch=1,
    step=391,
    steps=391,
    train_loss=4.2,
    last_loss=4.032,
    train_accuracy=4.18,
    lr=0.004,
    grad_norm=1.0,
    seconds=87.9,
    images_per_second=569,
    test_loss=4.0329,
    test_accuracy=10.14,
    test_top5=30.0,
    test_images=10_000,
)


def test_lines_of_an_epoch_equal_those_of_the_document() -> None:
    assert log_lines.bar_line(RECORD) == (
        "Loss=4.0320 Batch_id=390 Accuracy=4.18: 100%|██████████| 391/391 [01:27<00:00, 4.45it/s]"
    )
    assert log_lines.evaluation_line(RECORD) == (
        "Test set: Average loss: 4.0329, Accuracy: 1014/10000 (10.14%)"
    )


def test_records_without_optional_fields_have_lines_too() -> None:
    record = RECORD.replace(steps=None, last_loss=None, test_images=None)
    assert log_lines.bar_line(record).startswith("Loss=4.2000 Batch_id=390 ")
    expected = "Test set: Average loss: 4.0329, Accuracy: 10.14%"
    assert log_lines.evaluation_line(record) == expected


def test_evaluation_line_names_the_holdout_and_is_none_without_an_evaluation() -> None:
    none = RECORD.replace(test_loss=None, test_accuracy=None, test_top5=None, test_images=None)
    holdout = none.replace(
        holdout_loss=1.0, holdout_accuracy=50.0, holdout_top5=80.0, holdout_images=5000
    )
    assert log_lines.evaluation_line(holdout) == (
        "Holdout set: Average loss: 1.0000, Accuracy: 2500/5000 (50.00%)"
    )
    assert log_lines.evaluation_line(none) is None
    assert (RECORD.evaluated_accuracy, holdout.evaluated_accuracy) == (10.14, 50.0)
    assert none.evaluated_accuracy is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "00:00"), (59.9, "00:59"), (88, "01:28"), (3725, "1:02:05")]
)
def test_durations_are_those_of_progress_bars(seconds: float, text: str) -> None:
    assert log_lines.format_duration(seconds) == text


def test_slow_steps_are_shown_in_seconds_a_step() -> None:
    assert log_lines.format_speed(391, 88) == "4.44it/s"
    assert log_lines.format_speed(10, 10) == "1.00it/s"
    assert log_lines.format_speed(10, 25) == "2.50s/it"
    assert log_lines.format_speed(10, 0).endswith("it/s")


def test_badges_mark_the_target_and_the_best_epoch() -> None:
    reached = RECORD.replace(target_reached=True)
    assert log_lines.badges(reached, best=True) == ("Target Reached!", "Best Model!")
    assert log_lines.badges(RECORD, best=False) == ()
