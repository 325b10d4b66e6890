"""The rules of the report as pure functions."""

import pytest
import torch
from made_runs import RECIPE, records
from residua.reports.arithmetic import arithmetic
from residua.reports.classes import adjacent, confusion, most_confused, scores
from residua.reports.configuration import command, sections
from residua.reports.history import History, key_epochs, verdict
from residua.reports.structure import structure

from residua.models import training_flops
from residua.optim import SAM
from residua.recipes import built_in as recipes
from residua.recipes.loading import resolve
from residua.reports import words
from residua.schedules import Phases


def reasons(history):
    return {record["epoch"]: reason for record, reason in key_epochs(history)}


def test_key_epochs_are_the_shares_the_best_the_target_and_the_ends():
    history = History(records(100), "test", target=500.0)
    assert reasons(history) == {
        1: "first", 10: "10 % of the epochs", 25: "25 % of the epochs", 50: "50 % of the epochs",
        56: "target reached", 75: "75 % of the epochs", 99: "best", 100: "last",
    }  # fmt: skip


def test_key_epochs_take_evaluated_neighbours():
    found = reasons(History(records(100, every=20), "test"))
    assert found == {
        1: "first", 20: "10 % and 25 % of the epochs", 40: "50 % of the epochs",
        80: "75 % of the epochs", 100: "best, last",
    }  # fmt: skip


def test_one_epoch_is_first_best_and_last():
    assert reasons(History(records(1), "test")) == {1: "first, best, last"}
    assert key_epochs(History([], "test")) == []


def test_without_evaluation_there_is_no_best():
    history = History(records(3, every=9), "test")
    assert history.best is None
    assert history.reached is None
    assert history.gap(history.records[0]) is None
    assert reasons(history)[3] == "last"


def test_the_best_epoch_is_the_first_of_equals():
    log = records(3)
    for record in log:
        record["test_accuracy"] = 5.0
    assert History(log, "test").best == log[0]


@pytest.mark.parametrize(
    ("gap", "said"),
    [(24.9, "overfits"), (15.0, "moderate"), (5.0, "close together"), (0.0, "close together")],
)
def test_gaps_are_judged_by_rule(gap, said):
    assert said in verdict(gap)


def test_a_negative_gap_is_no_overfitting():
    assert "harder task" in verdict(-0.01)


def test_confusion_counts_true_by_predicted():
    labels, predicted = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 2, 1, 0])
    matrix = confusion(labels, predicted, 4)
    assert matrix.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    names = ("a", "b", "c", "d")
    assert [(each.name, each.accuracy) for each in scores(matrix, names)] == [
        ("b", 100.0), ("a", 50.0), ("d", 0.0),
    ]  # fmt: skip
    pairs = [(each.true, each.predicted, each.count, each.share) for each in
             most_confused(matrix, names, 9)]  # fmt: skip
    assert pairs == [("a", "c", 1, 50.0), ("d", "a", 1, 100.0)]


def test_classes_that_are_confused_become_neighbours():
    matrix = torch.eye(6, dtype=torch.int64) * 9
    for one, other in ((0, 3), (3, 5), (1, 4)):
        matrix[one, other] = 4
    order = adjacent(matrix).tolist()
    assert sorted(order) == list(range(6))
    for one, other in ((0, 3), (3, 5), (1, 4)):
        assert abs(order.index(one) - order.index(other)) == 1


@pytest.mark.parametrize("classes", [1, 2])
def test_the_smallest_matrices_have_an_order(classes):
    assert sorted(adjacent(torch.zeros(classes, classes)).tolist()) == list(range(classes))


@pytest.mark.parametrize("name", recipes.names())
def test_parts_add_up_to_the_network(name):
    found = structure(recipes.built_in(name).architecture, 10, 32)
    assert sum(part.parameters for part in found.parts) == found.summary.parameters
    assert sum(part.multiply_adds for part in found.parts) == found.summary.multiply_adds
    assert [found.parts[0].name, found.parts[-1].name] == ["stem", "head"]
    assert found.parts[-1].shape == (10,)


def test_the_command_names_what_was_overridden():
    assert command(recipes.built_in("resnet44")) == "residua train resnet44"
    words_typed = ["--epochs", "3", "--optimizer.lr", "0.05", "--data.limit", "64"]
    changed = resolve("resnet44v2", words_typed)
    typed = command(changed).split()
    assert typed[:3] == ["residua", "train", "resnet44v2"]
    assert resolve(typed[2], typed[3:]) == changed


def test_words_are_typed_without_quotes_where_they_are_read_as_words():
    typed = ["--device", "cpu", "--data.root", '"12"']
    changed = command(resolve("resnet44", typed))
    assert changed == """residua train resnet44 --data.root '"12"' --device cpu"""


def test_a_recipe_of_another_name_is_repeated_from_its_file():
    recipe = recipes.built_in("resnet44").model_copy(update={"name": "mine"})
    assert command(recipe) == "residua train recipe.json"


@pytest.mark.parametrize("name", recipes.names())
def test_sections_show_every_field(name):
    recipe = recipes.built_in(name)
    shown = {row[0].split(".")[0] for rows in sections(recipe).values() for row in rows}
    kinds = {each.kind for each in recipe.augmentation}
    assert set(type(recipe).model_fields) - {"name", "augmentation"} <= shown - kinds


def test_numbers_are_written_one_way():
    assert words.percent(7.5) == "7.50 %"
    assert words.percent(-1.25, signed=True) == "−1.25 %"
    assert words.percent(None) == words.loss(None) == words.ABSENT
    assert words.loss(1.23456) == "1.2346"
    assert words.count(1234567.4) == "1,234,567"
    assert words.scaled(30_032_292) == "30 M"
    assert words.scaled(999) == "999"
    assert [words.duration(s) for s in (3.21, 125, 8880)] == ["3.2 s", "2 min 05 s", "2 h 28 min"]


def test_settings_are_told_in_words():
    assert words.setting(None) == "none"
    assert words.setting(True) == "yes"
    assert words.setting([1, [0.5, 2.0]]) == "1, (0.5, 2)"
    assert words.setting({"kind": "cosine", "start": 0.1}) == "cosine: start 0.1"
    assert words.setting({"kind": "basic"}) == "basic"


def test_arithmetic_goes_by_the_sizes_that_images_had():
    grown = RECIPE.model_copy(update={"image_size": Phases(until=(2,), numbers=(16, 32))})
    history = History(records(3), "test")
    small, large = (training_flops(RECIPE.architecture.build(10), side) for side in (16, 32))
    assert large == pytest.approx(4 * small, rel=0.01)
    assert arithmetic(grown, history, 10, 8) == 3000 * (2 * small + large)
    assert arithmetic(RECIPE, history, 10, 32) == 3000 * 3 * large
    twice = RECIPE.model_copy(update={"sam": SAM()})
    assert arithmetic(twice, history, 10, 32) == 2 * 3000 * 3 * large
