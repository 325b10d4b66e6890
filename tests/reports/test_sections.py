"""What the sections of a run's report are made from: classes, network, configuration, charts."""

import pytest
import torch
from made_runs import RECIPE, make_run, records, run_data

from residua.inference.metrics import confusion_matrix, most_confused
from residua.models import training_flops
from residua.optim import SAM
from residua.recipes import built_in as recipes
from residua.recipes.loading import resolve
from residua.reports.kit import formatting
from residua.reports.kit.tables import Table, markdown_table
from residua.reports.run_data import RunData, config_key, replicates_of
from residua.reports.run_report.class_results import class_accuracies, confusion_order
from residua.reports.run_report.configuration import settings, train_command
from residua.reports.run_report.curves import gradient_chart
from residua.reports.run_report.network import structure, training_cost
from residua.schedules import Phases


def test_confusion_matrix_counts_true_by_predicted():
    labels, predicted = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 2, 1, 0])
    matrix = confusion_matrix(labels, predicted, 4)
    assert matrix.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    accuracies = [
        (result.name, result.accuracy) for result in class_accuracies(labels, predicted, "abcd")
    ]
    assert accuracies == [("b", 100.0), ("a", 50.0), ("d", 0.0)]
    pairs = [
        (p.true, p.predicted, p.count, p.share) for p in most_confused(labels, predicted, "abcd", 9)
    ]
    assert pairs == [("a", "c", 1, 50.0), ("d", "a", 1, 100.0)]


def test_confused_classes_are_neighbours():
    matrix = torch.eye(6, dtype=torch.int64) * 9
    pairs = ((0, 3), (3, 5), (1, 4))
    for first, second in pairs:
        matrix[first, second] = 4
    order = confusion_order(matrix).tolist()
    assert sorted(order) == list(range(6))
    assert all(abs(order.index(first) - order.index(second)) == 1 for first, second in pairs)


@pytest.mark.parametrize("classes", [1, 2])
def test_smallest_matrices_have_an_order(classes):
    assert sorted(confusion_order(torch.zeros(classes, classes)).tolist()) == list(range(classes))


@pytest.mark.parametrize("name", recipes.names())
def test_parts_add_up_to_the_network(name):
    network = structure(recipes.built_in(name).architecture, 10, 32)
    assert sum(part.parameters for part in network.parts) == network.summary.parameters
    assert sum(part.multiply_adds for part in network.parts) == network.summary.multiply_adds
    assert [network.parts[0].name, network.parts[-1].name] == ["stem", "head"]
    assert network.parts[-1].shape == (10,)


def test_training_cost_depends_on_image_sizes():
    resized = {"image_size": Phases(boundaries=(2,), values=(16, 32))}
    small, large = (training_flops(RECIPE.architecture.build(10), side) for side in (16, 32))
    assert large == pytest.approx(4 * small, rel=0.01)
    log = records(3)
    assert training_cost(run_data(log, **resized), 10, 8) == 3000 * (2 * small + large)
    assert training_cost(run_data(log), 10, 32) == 3000 * 3 * large
    assert training_cost(run_data(log, sam=SAM()), 10, 32) == 2 * 3000 * 3 * large


def test_command_names_what_was_overridden():
    assert train_command(recipes.built_in("resnet44")) == "residua train resnet44"
    words = ["--epochs", "3", "--optimizer.lr", "0.05", "--data.limit", "64"]
    recipe = resolve("resnet44v2", words)
    command = train_command(recipe).split()
    assert command[:3] == ["residua", "train", "resnet44v2"]
    assert resolve(command[2], command[3:]) == recipe


def test_command_quotes_strings_only_where_needed():
    command = train_command(resolve("resnet44", ["--device", "cpu", "--data.root", '"12"']))
    assert command == """residua train resnet44 --data.root '"12"' --device cpu"""


def test_command_of_other_recipes_is_their_file():
    recipe = recipes.built_in("resnet44").replace(name="mine")
    assert train_command(recipe) == "residua train recipe.json"


@pytest.mark.parametrize("name", recipes.names())
def test_settings_show_every_field(name):
    recipe = recipes.built_in(name)
    rows = [row for (table,) in settings(recipe).columns for row in table.rows]
    shown = {row[0].split(".")[0] for row in rows} - {item.kind for item in recipe.augmentation}
    assert set(type(recipe).model_fields) - {"name", "augmentation"} <= shown


def test_gradient_chart_has_a_curve_for_each_group():
    (image,) = gradient_chart(run_data(records(4)))
    svg = image.content.decode()
    assert all(f">{name}<" in svg for name in ("stem", "stage1", "head", "all"))
    assert ">0.0001<" in svg


def test_gradient_chart_without_groups():
    (image,) = gradient_chart(run_data(records(4, grad_norms={})))
    svg = image.content.decode()
    assert ">stem<" not in svg
    assert ">all<" not in svg
    assert svg.count("<path") > 1
    assert gradient_chart(run_data([])) == []


def test_zero_gradients_are_drawn_without_a_warning():
    """As in an epoch whose every step overflowed in float16."""
    assert gradient_chart(run_data(records(3, grad_norm=0.0, grad_norms={})))


def test_replicates_differ_only_in_seed_and_name(tmp_path):
    def run(folder, **changes):
        return RunData.read(make_run(tmp_path / folder, RECIPE.replace(**changes)))

    own, other = run("own", seed=0), run("other", seed=1, name="renamed")
    longer, repeated = run("longer", seed=2, epochs=9), run("repeated", seed=1)
    assert replicates_of(own, [own, longer, other, repeated]) == [other]
    assert config_key(own.recipe) == config_key(other.recipe) != config_key(longer.recipe)


def test_numbers_are_formatted():
    assert formatting.percent(7.5) == "7.50 %"
    assert formatting.points(-1.25) == "−1.25 points"
    assert formatting.percent(None) == formatting.loss(None) == formatting.MISSING
    assert formatting.loss(1.23456) == "1.2346"
    assert formatting.count(1234567.4) == "1,234,567"
    assert formatting.scaled(30_032_292) == "30 M"
    assert formatting.scaled(999) == "999"
    durations = [formatting.duration(seconds) for seconds in (3.21, 125, 8880)]
    assert durations == ["3.2 s", "2 min 05 s", "2 h 28 min"]
    assert formatting.mean_std([], 2) == "–"
    assert formatting.mean_std([1234.5], 1) == "1,234.5"
    assert formatting.mean_std([1.0, 3.0], 2) == "2.00 ± 1.41"


def test_settings_are_formatted():
    assert formatting.setting(None) == "none"
    assert formatting.setting(True) == "yes"
    assert formatting.setting([1, [0.5, 2.0]]) == "1, (0.5, 2)"
    assert formatting.setting({"kind": "cosine", "start": 0.1}) == "cosine: start 0.1"
    assert formatting.setting({"kind": "basic"}) == "basic"


def test_markdown_tables_are_aligned_and_escaped():
    table = Table(("Name", "Count"), [("a|b", "1")])
    assert markdown_table(table) == "| Name | Count |\n| --- | ---: |\n| a&#124;b | 1 |"
