"""The loss against its definition."""

import pytest
import torch
from pydantic import ValidationError

from residua.errors import UserError
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


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = torch.tensor([0] * 5 + [1] * 20 + [2] * 75)
    weights = CrossEntropy(class_weights="balanced").weights(labels, ("a", "b", "c"))
    assert weights is not None
    expected = [100 / (3 * count) for count in (5, 20, 75)]
    torch.testing.assert_close(weights, torch.tensor(expected))
    assert float(weights[labels].mean()) == pytest.approx(1)


@pytest.mark.extra("sklearn")
def test_balanced_weights_against_scikit_learn() -> None:
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    labels = torch.arange(200) % 13 // 3
    weights = CrossEntropy(class_weights="balanced").weights(labels, tuple("abcde"))
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels.numpy())
    torch.testing.assert_close(weights, torch.from_numpy(expected).float())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_loss_is_the_mean_over_images(smoothing: float) -> None:
    loss, weights = CrossEntropy(label_smoothing=smoothing), torch.tensor([1.0, 2, 3, 4, 5])
    expected = torch.nn.CrossEntropyLoss(weights, reduction="none", label_smoothing=smoothing)
    for targets in (LABELS, torch.eye(5)[LABELS]):
        torch.testing.assert_close(loss(LOGITS, targets, weights), expected(LOGITS, LABELS).mean())
    halves = [loss(LOGITS[half], LABELS[half], weights) for half in (slice(4), slice(4, 8))]
    torch.testing.assert_close(torch.stack(halves).mean(), loss(LOGITS, LABELS, weights))


def test_weights_by_name() -> None:
    loss = CrossEntropy(class_weights={"b": 3.0})
    assert loss.weights(LABELS, ("a", "b")) is not None
    assert loss.weights(LABELS, ("a", "b")).tolist() == [1, 3]  # type: ignore[union-attr]
    assert CrossEntropy().weights(LABELS, ("a", "b")) is None
    with pytest.raises(UserError, match="no class 'b'; choose from a, c"):
        loss.weights(LABELS, ("a", "c"))
    for wrong in ("equal", {"a": 0}, {"a": -1}, {"a": float("inf")}):
        with pytest.raises(ValidationError):
            CrossEntropy.model_validate({"class_weights": wrong})
