"""Lines of the log, as the documents print them."""

import pytest

from residua.runs import log_lines

RECORD = {
    "epoch": 1,
    "step": 391,
    "steps": 391,
    "train_loss": 4.2,
    "last_loss": 4.032,
    "train_accuracy": 4.18,
    "seconds": 87.9,
    "test_loss": 4.0329,
    "test_accuracy": 10.14,
    "test_images": 10_000,
}


def test_an_epoch_of_the_document_comes_out_as_printed():
    assert log_lines.bar_line(RECORD) == (
        "Loss=4.0320 Batch_id=390 Accuracy=4.18: 100%|██████████| 391/391 [01:27<00:00, 4.45it/s]"
    )
    assert log_lines.test_line(RECORD) == (
        "Test set: Average loss: 4.0329, Accuracy: 1014/10000 (10.14%)"
    )


def test_what_an_older_log_lacks_is_made_up_for():
    old = {key: RECORD[key] for key in RECORD if key not in {"steps", "last_loss", "test_images"}}
    assert log_lines.bar_line(old).startswith("Loss=4.2000 Batch_id=390 ")
    assert " 98/98 " in log_lines.bar_line(old, 98)
    assert log_lines.test_line(old) == "Test set: Average loss: 4.0329, Accuracy: 10.14%"
    assert log_lines.test_line(old, 500).endswith("Accuracy: 51/500 (10.14%)")


def test_a_holdout_is_called_one_and_no_evaluation_has_no_line():
    held = {"epoch": 2, "holdout_loss": 1.0, "holdout_accuracy": 50.0, "holdout_images": 5000}
    assert log_lines.test_line(held) == (
        "Holdout set: Average loss: 1.0000, Accuracy: 2500/5000 (50.00%)"
    )
    assert log_lines.test_line({"epoch": 2}) is None


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "00:00"), (59.9, "00:59"), (88, "01:28"), (3725, "1:02:05")]
)
def test_clocks_are_those_of_progress_bars(seconds, said):
    assert log_lines.clock(seconds) == said


def test_slow_steps_are_told_in_seconds():
    assert log_lines.rate(391, 88) == "4.44it/s"
    assert log_lines.rate(10, 10) == "1.00it/s"
    assert log_lines.rate(10, 25) == "2.50s/it"
    assert log_lines.rate(10, 0).endswith("it/s")


def test_marks_stand_for_the_target_and_the_best():
    assert log_lines.marks(True, True) == ("Target Reached!", "Best Model!")
    assert log_lines.marks(False, False) == ()
