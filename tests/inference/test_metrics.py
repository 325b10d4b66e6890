"""Figures of evaluations: by hand, and equal to torchmetrics, scikit-learn and scipy."""

import math

import pytest
import torch

from residua.inference.calibration import (
    apply_temperature,
    confidence_bins,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from residua.inference.ensemble import contributions, ensemble_logits
from residua.inference.metrics import (
    class_figures,
    confusion_matrix,
    figures,
    mean_loss,
    most_confused,
    top_k_accuracy,
)
from residua.inference.uncertainty import (
    bootstrap_intervals,
    bootstrap_weights,
    mcnemar_test,
    resampled_figures,
    wilson_interval,
)

NAMES = [f"class{index}" for index in range(10)]
LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
PREDICTED = torch.tensor([0, 0, 1, 2, 1, 1, 0, 2])


@pytest.fixture(scope="module")
def outputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (700, 10) that are right in about two thirds of the cases, and labels."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(10, (700,), generator=generator)
    logits = torch.randn(700, 10, generator=generator)
    return logits + 2.3 * torch.nn.functional.one_hot(labels, 10), labels


def test_class_figures_by_hand() -> None:
    rows = class_figures(LABELS, PREDICTED, "abcd")
    assert [(r.images, r.predicted, r.correct) for r in rows] == [
        (4, 3, 2), (2, 3, 2), (2, 2, 1), (0, 0, 0),
    ]  # fmt: skip
    assert [r.precision for r in rows] == pytest.approx([200 / 3, 200 / 3, 50, 0])
    assert [r.recall for r in rows] == [50, 100, 50, 0]
    assert [r.f1 for r in rows] == pytest.approx([400 / 7, 80, 50, 0])


def test_macro_figures_are_means_over_classes_with_images() -> None:
    logits = torch.nn.functional.one_hot(PREDICTED, 4).float()
    found = figures(logits, LABELS, "abcd")
    assert found.accuracy == 62.5
    assert found.balanced_accuracy == pytest.approx(200 / 3)
    assert found.macro_f1 == pytest.approx((400 / 7 + 80 + 50) / 3)
    assert found.top5 is None
    assert found.superclass_accuracy is None


def test_superclasses_count_confusions_inside_them_as_correct() -> None:
    logits = torch.nn.functional.one_hot(PREDICTED, 3).float()
    found = figures(logits, LABELS, "abc", (0, 0, 1), ("x", "y"))
    assert found.superclass_accuracy == 75
    rows = [(row.name, row.images, row.predicted, row.correct) for row in found.superclasses]
    assert rows == [("x", 6, 6, 5), ("y", 2, 2, 1)]


def test_confusion_matrix_is_kept_for_up_to_a_hundred_classes() -> None:
    logits = torch.nn.functional.one_hot(PREDICTED, 3).float()
    assert figures(logits, LABELS, "abc").confusion == ((2, 1, 1), (0, 2, 0), (1, 0, 1))
    many = torch.zeros(8, 3000)
    many[:, :3] = logits
    found = figures(many, LABELS, [f"class{index}" for index in range(3000)])
    assert found.confusion == ()
    assert found.confused == figures(logits, LABELS, ["class0", "class1", "class2"]).confused
    assert found.balanced_accuracy == pytest.approx(200 / 3)


def test_most_confused_pairs_are_in_order() -> None:
    pairs = most_confused(LABELS, PREDICTED, "abc")
    assert [(p.true, p.predicted, p.count, p.share) for p in pairs] == [
        ("a", "b", 1, 25), ("a", "c", 1, 25), ("c", "a", 1, 50),
    ]  # fmt: skip


def test_calibration_by_hand() -> None:
    confidence = torch.tensor([0.95, 0.95, 0.55, 1 / 15, 1.0])
    correct = torch.tensor([True, False, True, False, True])
    assert confidence_bins(confidence).tolist() == [14, 14, 8, 0, 14]
    expected = (abs(0.95 + 0.95 + 1 - 2) + abs(0.55 - 1) + 1 / 15) / 5
    assert expected_calibration_error(confidence, correct) == pytest.approx(100 * expected)
    bins = reliability(confidence, correct)
    assert [b.images for b in bins if b.images] == [1, 1, 3]
    assert bins[14].accuracy == pytest.approx(200 / 3)
    assert bins[14].confidence == pytest.approx(290 / 3)


def test_temperature_recovers_a_known_one(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = outputs
    best = fit_temperature(logits, labels)
    assert fit_temperature(logits * 7, labels) == pytest.approx(7 * best)
    assert fit_temperature(logits / best, labels) == pytest.approx(1, abs=1e-6)
    loss = apply_temperature(logits, labels, best).loss
    assert loss < min(
        apply_temperature(logits, labels, best * factor).loss for factor in (0.97, 1, 1.03)
    ) + 1e-12  # fmt: skip


def test_temperature_of_a_network_without_mistakes_is_the_end_of_the_range() -> None:
    labels = torch.arange(4)
    assert fit_temperature(torch.eye(4), labels) == pytest.approx(0.01, rel=1e-3)
    assert fit_temperature(-torch.eye(4), labels) == pytest.approx(100, rel=1e-3)


def test_wilson_interval_by_hand() -> None:
    interval = wilson_interval(8, 10, z=2)
    assert (interval.low, interval.high) == pytest.approx(
        (100 * (0.8 + 0.2 - 2 * math.sqrt(0.016 + 0.01)) / 1.4,
         100 * (0.8 + 0.2 + 2 * math.sqrt(0.016 + 0.01)) / 1.4)
    )  # fmt: skip
    assert wilson_interval(0, 5).low == 0
    assert wilson_interval(5, 5).high == 100


def test_bootstrap_is_seeded_and_draws_each_resample_with_replacement() -> None:
    weights = bootstrap_weights(50, 20, torch.Generator().manual_seed(0))
    assert weights.sum(0).tolist() == [50] * 20
    assert weights.max() > 1
    data = (LABELS, PREDICTED, torch.full((8,), 0.7), 3)
    assert bootstrap_intervals(*data, seed=1) == bootstrap_intervals(*data, seed=1)
    assert bootstrap_intervals(*data, seed=1) != bootstrap_intervals(*data, seed=2)


def test_bootstrap_does_not_hold_all_resamples_at_once(
    monkeypatch: pytest.MonkeyPatch, outputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, labels = outputs
    confidence, predicted = logits.softmax(1).max(1)
    sizes: list[int] = []
    original = bootstrap_weights

    def record(images: int, resamples: int, generator: torch.Generator) -> torch.Tensor:
        sizes.append(resamples)
        return original(images, resamples, generator)

    monkeypatch.setattr("residua.inference.uncertainty.MAX_ELEMENTS", 700 * 300)
    monkeypatch.setattr("residua.inference.uncertainty.bootstrap_weights", record)
    bootstrap_intervals(labels, predicted, confidence, 10)
    assert sizes == [300, 300, 300, 100]


def test_mcnemar_by_hand() -> None:
    first = torch.tensor([True] * 6 + [False] * 4)
    second = torch.tensor([True] + [False] * 5 + [True] + [False] * 3)
    test = mcnemar_test(first, second)
    assert (test.only_first, test.only_second, test.images) == (5, 1, 10)
    assert test.difference == 40
    assert test.p == pytest.approx(2 * 7 / 64)
    assert mcnemar_test(first, first).p == 1
    assert -100 <= test.interval.low < 40 < test.interval.high <= 100


def test_ensemble_is_the_mean_of_probabilities() -> None:
    members = [torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])]
    mean = (members[0].softmax(1) + members[1].softmax(1)) / 2
    torch.testing.assert_close(ensemble_logits(members).softmax(1), mean)
    third = torch.tensor([[0.0, 9.0], [0.0, 9.0]])
    added = contributions([*members, third], torch.tensor([0, 1]))
    assert [c.alone for c in added] == [50, 50, 50]
    assert [c.cumulative for c in added] == [50, 100, 50]
    assert [c.without for c in added] == [50, 50, 100]
    assert [c.added for c in added] == [0, 0, -50]
    assert contributions(members[:1], torch.tensor([0, 1]))[0].added is None


@pytest.mark.extra("torchmetrics")
def test_equal_to_torchmetrics(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    from torchmetrics.functional import classification as metric

    logits, labels = outputs
    found = figures(logits, labels, NAMES)
    args = {"num_classes": 10, "average": "macro"}
    pairs = {
        "accuracy": metric.multiclass_accuracy(logits, labels, 10, average="micro"),
        "top5": metric.multiclass_accuracy(logits, labels, 10, average="micro", top_k=5),
        "balanced_accuracy": metric.multiclass_recall(logits, labels, **args),
        "macro_precision": metric.multiclass_precision(logits, labels, **args),
        "macro_f1": metric.multiclass_f1_score(logits, labels, **args),
        "ece": metric.multiclass_calibration_error(logits, labels, 10, n_bins=15),
    }
    for name, expected in pairs.items():
        assert getattr(found, name) == pytest.approx(100 * float(expected), abs=1e-4), name
    matrix = confusion_matrix(labels, logits.argmax(1), 10)
    assert torch.equal(matrix, metric.multiclass_confusion_matrix(logits, labels, 10))
    scaled = apply_temperature(logits, labels, 2.5)
    ece = metric.multiclass_calibration_error(logits / 2.5, labels, 10, n_bins=15)
    assert scaled.ece == pytest.approx(100 * float(ece), abs=1e-4)


@pytest.mark.extra("sklearn")
def test_equal_to_scikit_learn(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    from sklearn import metrics

    logits, labels = outputs
    # The last class has no images, as in a folder that lacks a class.
    labels = labels.where(labels < 9, labels - 9)
    predicted, probabilities = logits.argmax(1), logits.double().softmax(1).numpy()
    found = figures(logits, labels, NAMES)
    present = range(9)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(10), zero_division=0
    )
    for rows, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        ours = [getattr(row, rows) for row in found.classes]
        assert ours == pytest.approx((100 * expected).tolist())
    assert [row.images for row in found.classes] == support.tolist()
    macro = metrics.precision_recall_fscore_support(
        labels, predicted, labels=present, average="macro", zero_division=0
    )
    ours = (found.macro_precision, found.balanced_accuracy, found.macro_f1)
    assert ours == pytest.approx([100 * value for value in macro[:3]])
    balanced = metrics.recall_score(labels, predicted, labels=present, average="macro")
    assert found.balanced_accuracy == pytest.approx(100 * balanced)
    assert found.loss == pytest.approx(
        metrics.log_loss(labels, probabilities, labels=range(10)), rel=1e-6
    )
    top3 = metrics.top_k_accuracy_score(labels, probabilities, k=3, labels=range(10))
    assert top_k_accuracy(logits, labels, 3) == pytest.approx(100 * top3)
    assert mean_loss(logits, labels) == found.loss


@pytest.mark.extra("sklearn")
def test_resamples_are_equal_to_weighted_scores(
    outputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Every resample, computed at once, is what scikit-learn gives for its weights."""
    from sklearn import metrics

    logits, labels = outputs
    confidence, predicted = logits.softmax(1).max(1)
    weights = bootstrap_weights(700, 5, torch.Generator().manual_seed(3))
    found = resampled_figures(labels, predicted, confidence, 10, weights)
    for column, (accuracy, macro_f1, ece) in enumerate(found.T.tolist()):
        drawn = weights[:, column].long()
        repeated = [values.repeat_interleave(drawn) for values in (labels, predicted, confidence)]
        truth, guess, certain = repeated
        assert accuracy == pytest.approx(100 * metrics.accuracy_score(truth, guess))
        assert macro_f1 == pytest.approx(100 * metrics.f1_score(truth, guess, average="macro"))
        assert ece == pytest.approx(expected_calibration_error(certain, truth == guess), abs=1e-4)


@pytest.mark.extra("scipy")
def test_intervals_and_tests_are_equal_to_scipy(
    outputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    from scipy import optimize, stats

    logits, labels = outputs
    confidence, predicted = logits.softmax(1).max(1)
    correct = predicted == labels
    for hits, images in ((int(correct.sum()), 700), (3, 4), (0, 10), (9990, 10_000)):
        expected = stats.binomtest(hits, images).proportion_ci(method="wilson")
        interval = wilson_interval(hits, images)
        assert (interval.low, interval.high) == pytest.approx(
            (100 * expected.low, 100 * expected.high), abs=1e-9
        )
    bootstrap = stats.bootstrap(
        (100.0 * correct.numpy(),), lambda x, axis: x.mean(axis), n_resamples=20_000,
        method="percentile", rng=0,
    ).confidence_interval  # fmt: skip
    accuracy, _, _ = bootstrap_intervals(labels, predicted, confidence, 10, resamples=20_000)
    # Two samples of 20,000: the ends differ by chance, by far less than the interval's 7 points.
    assert (accuracy.low, accuracy.high) == pytest.approx(tuple(bootstrap), abs=0.15)
    for pair in ((5, 1), (40, 60), (0, 0), (700, 612)):
        first = torch.tensor([True] * pair[0] + [False] * pair[1])
        expected = stats.binomtest(pair[0], sum(pair)).pvalue if sum(pair) else 1.0
        if sum(pair):
            assert mcnemar_test(first, ~first).p == pytest.approx(expected)

    def loss(log_temperature: float) -> float:
        scaled = logits.double() / math.exp(log_temperature)
        return float(torch.nn.functional.cross_entropy(scaled, labels))

    best = optimize.minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(logits, labels) == pytest.approx(math.exp(best.x), rel=1e-5)
