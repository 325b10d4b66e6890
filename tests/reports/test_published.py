"""The published figures and logs."""

import pytest

from residua.recipes import built_in as recipes
from residua.reports import published

DOCUMENTS = {"resnet44", "resnet44v2", "wrn28_10", "resnet26w", "resnet34"}


def test_every_system_has_a_recipe():
    assert set(published.SYSTEMS) == DOCUMENTS
    assert set(recipes.names()) >= DOCUMENTS
    for name, system in published.SYSTEMS.items():
        assert system.name == name
        assert system.epochs == recipes.built_in(name).epochs


def test_names_are_systems_and_single_runs():
    assert published.names() == sorted([*DOCUMENTS, "resnet44v2_run1", "resnet44v2_run2"])
    with pytest.raises(KeyError):
        published.reference("resnet44v2_run3")
    with pytest.raises(KeyError):
        published.reference("../systems")


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_figures_are_those_of_the_log(name):
    system = published.SYSTEMS[name]
    reference = published.reference(name)
    if reference.curve is None:
        assert not system.curves
        return
    assert reference.curve.last.epoch == system.epochs
    assert reference.last == reference.curve.last.test_accuracy == system.last
    assert reference.best == reference.curve.best.test_accuracy == system.best
    assert reference.curve.best.epoch == system.best_epoch


@pytest.mark.parametrize(
    ("name", "epochs", "first", "last"),
    [
        ("resnet44", 29, (4.18, 10.14), (78.03, 80.57)),
        ("resnet44v2_run1", 100, (7.88, 12.70), (89.57, 69.68)),
        ("resnet44v2_run2", 100, (7.71, 11.25), (99.65, 74.70)),
        ("resnet26w", 70, (14.472, 14.85), (95.162, 61.97)),
    ],
)
def test_logs_are_read_completely(name, epochs, first, last):
    points = published.curve(name).points
    assert len(points) == epochs
    assert [point.epoch for point in points] == sorted({point.epoch for point in points})
    assert (points[0].train_accuracy, points[0].test_accuracy) == first
    assert (points[-1].train_accuracy, points[-1].test_accuracy) == last


def test_loss_of_last_batch_is_not_the_epochs_loss():
    first = published.curve("resnet44").points[0]
    assert first.train_loss is None
    assert (first.last_loss, first.test_loss, first.seconds) == (4.032, 4.0329, 87.0)
    first = published.curve("resnet44v2_run1").points[0]
    assert (first.train_loss, first.last_loss, first.test_loss) == (4.0153, None, None)


def test_system_of_two_runs_stands_for_the_second():
    reference = published.reference("resnet44v2")
    assert reference.curve == published.curve("resnet44v2_run2")
    assert reference.others == (published.curve("resnet44v2_run1"),)
    first = published.reference("resnet44v2_run1")
    assert (first.last, first.best, first.others) == (69.68, 69.85, ())
    assert first.system.name == "resnet44v2"


def test_headlines_name_the_kind_of_figure():
    assert {name: published.reference(name).headline for name in published.names()} == {
        "resnet44": "80.57 last, 80.87 best",
        "resnet44v2": "74.70 last, 74.86 best",
        "resnet44v2_run1": "69.68 last, 69.85 best",
        "resnet44v2_run2": "74.70 last, 74.86 best",
        "wrn28_10": "about 82",
        "resnet26w": "61.97 last, 62.70 best",
        "resnet34": "75 (its target)",
    }
