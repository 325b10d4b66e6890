"""The loss against its definition."""

import pytest
import torch
from pydantic import ValidationError

from residua.optim.loss import CrossEntropy

LOGITS = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 5


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2])
def test_labels_and_one_hot_targets_give_the_loss_of_torch(smoothing: float) -> None:
    loss = CrossEntropy(label_smoothing=smoothing)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(LOGITS, LABELS)
    torch.testing.assert_close(loss(LOGITS, torch.eye(5)[LABELS]), expected)
    torch.testing.assert_close(loss(LOGITS, LABELS), expected)


def test_soft_targets_are_smoothed_by_definition() -> None:
    soft = torch.rand(8, 5).softmax(1)
    smoothed = soft * 0.9 + 0.1 / 5
    expected = -(smoothed * LOGITS.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(CrossEntropy(label_smoothing=0.1)(LOGITS, soft), expected)


def test_label_smoothing_of_one_is_refused() -> None:
    with pytest.raises(ValidationError):
        CrossEntropy(label_smoothing=1.0)
