"""Confident learning, against its definitions and on labels flipped on purpose."""

import label_errors as benchmark
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from residua.data import Split
from residua.inference.label_errors import (
    class_thresholds,
    confident_classes,
    confident_joint,
    estimated_noise_rate,
    find_label_errors,
)


@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(1, 40))
def test_equals_the_definition_image_by_image(seed: int, classes: int, images: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(images, classes, generator=generator)).softmax(1)
    labels = torch.randint(classes, (images,), generator=generator)
    rows, given_labels = probabilities.double().tolist(), labels.tolist()
    thresholds = {}
    for j in set(given_labels):
        own = [p[j] for p, label in zip(rows, given_labels, strict=True) if label == j]
        thresholds[j] = sum(own) / len(own)
    for j, value in thresholds.items():
        assert class_thresholds(probabilities, labels)[j] == pytest.approx(value)
    expected = []
    for p in rows:
        reached = [j for j, threshold in thresholds.items() if p[j] >= threshold - 1e-12]
        expected.append(max(reached, key=lambda j: p[j], default=-1))
    assert confident_classes(probabilities, labels).tolist() == expected
    joint = confident_joint(probabilities, labels)
    assert torch.equal(joint.sum(1).round().long(), torch.bincount(labels, minlength=classes))
    wrong = []
    for i in set(given_labels):
        members = [n for n, label in enumerate(given_labels) if label == i]
        counted = [n for n in members if expected[n] >= 0]
        share = sum(expected[n] != i for n in counted) / len(counted) if counted else 0
        number = round(share * len(members) + 1e-9)
        members.sort(key=lambda n: rows[n][i])
        wrong += [n for n in members[:number] if max(rows[n]) > rows[n][i]]
    errors = find_label_errors(probabilities, labels)
    assert abs(len(set(errors.indices.tolist()) ^ set(wrong))) <= _halves(joint)
    assert errors.suggested.tolist() == probabilities.argmax(1)[errors.indices].tolist()
    assert (errors.self_confidence.diff() >= 0).all()


def _halves(joint: torch.Tensor) -> int:
    """Labels of which half an image is listed: it may be rounded up or down."""
    wrong = joint.sum(1) - joint.diagonal()
    return int(((wrong - wrong.floor() - 0.5).abs() < 1e-6).sum())


def confident(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.full((len(labels), classes), 0.02).scatter(1, labels[:, None], 1 - 0.02 * classes)


def test_finds_all_flips_of_a_network_that_knows_every_class() -> None:
    labels = torch.arange(10).repeat(50)
    split = Split(torch.zeros(500, 3, 1, 1).byte(), labels, tuple(map(str, range(10))))
    flipped, mask = benchmark.flip(split, 0, within_superclass=False)
    assert int(mask.sum()) == 25
    errors = find_label_errors(confident(labels, 10), flipped)
    assert torch.equal(errors.indices.sort().values, mask.nonzero()[:, 0])
    assert torch.equal(errors.suggested, labels[errors.indices])
    assert estimated_noise_rate(confident(labels, 10), flipped) == pytest.approx(0.05)
    figures = benchmark.figures(errors.indices, mask)
    assert figures["precision"] == figures["recall"] == 100
    assert figures["average_precision"] == pytest.approx(100)
    assert find_label_errors(confident(labels, 10), labels).indices.tolist() == []


def test_flips_within_superclasses_stay_in_them() -> None:
    labels = torch.arange(10).repeat(20)
    names = tuple(map(str, range(10)))
    split = Split(torch.zeros(200, 3, 1, 1).byte(), labels, names, labels // 5, ("low", "high"))
    flipped, mask = benchmark.flip(split, 3, within_superclass=True)
    assert torch.equal(flipped // 5, labels // 5)
    assert torch.equal(flipped != labels, mask)


def test_methods_of_the_benchmark_rank_certain_flips_first() -> None:
    labels = torch.arange(4).repeat(25)
    split = Split(torch.zeros(100, 3, 1, 1).byte(), labels, tuple("abcd"))
    flipped, mask = benchmark.flip(split, 1, within_superclass=False)
    for method in benchmark.METHODS.values():
        assert set(method(confident(labels, 4), flipped).tolist()) == set(
            mask.nonzero()[:, 0].tolist()
        )
