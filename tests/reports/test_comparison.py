"""Comparisons of runs."""

import math

import pytest
import torch
from made_runs import RECIPE, finish, make_run, records
from test_run_report import assert_self_contained, linked, markdown_of

from residua.cli import main
from residua.data import Split
from residua.errors import UserError
from residua.inference.metrics import figures
from residua.reports.comparison import compare_runs, write_comparison
from residua.reports.comparison.curves import mean_series
from residua.reports.comparison.differences import image_verdict
from residua.reports.comparison.groups import differing_fields, group_runs
from residua.reports.comparison.tables import accuracy_measures
from residua.reports.run_data import RunData
from residua.runs.artifacts import Predictions, save_predictions
from residua.runs.evaluations import EvaluationRecord, Outputs, save_evaluation
from residua.runs.records import DataFingerprint, SplitFingerprint

WIDE = RECIPE.replace(name="wide", batch_size=64)


def made(path, recipe, last, seed=0, **changes):
    """A finished run with this last test accuracy."""
    log = [
        record.model_copy(update={"test_accuracy": record.test_accuracy + seed})
        for record in records(8, **changes)
    ]
    run = make_run(path, recipe.replace(seed=seed), log)
    return finish(run, last=last, best=last + 1)


def made_seeds(directory, recipe, accuracies, **changes):
    return [
        made(directory / f"{recipe.name}{seed}", recipe, last, seed, **changes)
        for seed, last in enumerate(accuracies)
    ]


@pytest.fixture
def tiny_runs(tmp_path):
    return made_seeds(tmp_path, RECIPE, (60.0, 60.1, 60.2))


@pytest.fixture
def wide_runs(tmp_path):
    """Two points better than the tiny ones."""
    log = {"train_accuracy": 90.0, "train_loss": 0.25}
    return made_seeds(tmp_path, WIDE, (62.0, 62.1, 62.2), **log)


def groups_of(runs):
    return group_runs([RunData.read(run) for run in runs])


def test_runs_that_differ_in_seed_and_name_form_a_group(tmp_path, tiny_runs, wide_runs):
    renamed = made(tmp_path / "more", RECIPE.replace(name="renamed"), 60.3, seed=3)
    groups = groups_of([*tiny_runs, *wide_runs, renamed])
    assert [(group.label, len(group.runs)) for group in groups] == [("tiny", 4), ("wide", 3)]
    assert accuracy_measures(groups)[0].values(groups[0]) == pytest.approx([60.0, 60.1, 60.2, 60.3])


def test_repeated_seeds_count_once(tmp_path, tiny_runs):
    runs = [*tiny_runs, made(tmp_path / "again", RECIPE, 70.0, seed=1)]
    (group,) = groups_of(runs)
    assert accuracy_measures([group])[0].values(group) == pytest.approx([60.0, 60.1, 60.2])
    assert len(group.repeated) == 1
    assert any("no independent evidence" in note for note in compare_runs(runs).notes)


def test_recipes_of_one_name_have_different_labels(tmp_path, tiny_runs):
    other = RECIPE.replace(batch_size=32)
    groups = groups_of([tiny_runs[0], made(tmp_path / "other", other, 60.0)])
    assert [group.label for group in groups] == ["tiny (batch_size 128)", "tiny (batch_size 32)"]
    assert differing_fields([RECIPE, other]) == [("batch_size", ["128", "32"])]


def test_significant_difference(tiny_runs, wide_runs):
    comparison = compare_runs([*tiny_runs, *wide_runs])
    (verdict,) = comparison.verdicts
    better = "wide is better than tiny, test accuracy, last epoch: by 2.00 points"
    assert verdict.startswith(better)
    assert "p < 0.001, n = 3 and 3" in verdict
    row = comparison.tests.rows[0]
    assert row[:3] == ("tiny − wide", "Test accuracy, last epoch", "−2.00 points")
    assert comparison.results.rows[0][:3] == ("tiny", "3", "60.10 ± 0.10")


def test_fit_to_the_training_set(tiny_runs, wide_runs):
    assert compare_runs([*tiny_runs, *wide_runs]).fit.rows == [
        ("tiny", "80.00 ± 0.00", "0.5000 ± 0.0000", "19.90 ± 0.10"),
        ("wide", "90.00 ± 0.00", "0.2500 ± 0.0000", "27.90 ± 0.10"),
        ("wide − tiny", "+10.00", "−0.2500", "+8.00"),
    ]
    assert len(compare_runs(tiny_runs).fit.rows) == 1


def test_noise_is_not_significant(tmp_path):
    runs = [*made_seeds(tmp_path, RECIPE, (60, 61)), *made_seeds(tmp_path, WIDE, (60.5, 61.5))]
    (verdict,) = compare_runs(runs).verdicts
    assert "no significant difference (−0.50 points, 95 % interval −" in verdict
    assert "With so few runs only a difference of about" in verdict


def test_too_few_or_equal_runs_are_not_tested(tmp_path, tiny_runs, wide_runs):
    comparison = compare_runs([*tiny_runs, wide_runs[0]])
    assert "too few runs for a test (n = 3 and 1)" in comparison.verdicts[0]
    assert comparison.tests.rows == []
    equal = [
        run
        for recipe in (RECIPE, WIDE)
        for run in made_seeds(tmp_path / "equal", recipe, (60.0, 60.0))
    ]
    assert "the runs of neither group differ" in compare_runs(equal).verdicts[0]


def test_one_group_has_results_and_no_verdict(tiny_runs):
    comparison = compare_runs(tiny_runs)
    assert comparison.verdicts == []
    assert comparison.differences.rows == []
    assert len(comparison.charts) == 3


def test_p_values_of_three_groups_are_corrected(tmp_path, tiny_runs, wide_runs):
    third = made_seeds(tmp_path, RECIPE.replace(name="third", batch_size=32), (60.2, 60.3, 60.4))
    comparison = compare_runs([*tiny_runs, *wide_runs, *third])
    assert len(comparison.verdicts) == 3
    assert len(comparison.tests.rows) == 6
    p_values = [row[6:] for row in comparison.tests.rows if row[1].endswith("last epoch")]
    assert all(float(holm) >= float(p) for p, holm in p_values if "<" not in p + holm)


def test_unfinished_runs_are_only_in_the_curves(tmp_path, tiny_runs):
    log = [r.model_copy(update={"test_accuracy": r.test_accuracy + 5}) for r in records(8)]
    late = make_run(tmp_path / "late", RECIPE.replace(seed=5), log)
    comparison = compare_runs([tiny_runs[0], late])
    assert comparison.results.rows[0][1] == "1"
    assert any("unfinished" in note for note in comparison.notes)
    series = mean_series(comparison.groups[0], "accuracy", 0)
    assert series.label == "tiny (n = 2)"
    assert len(series.points) == len(series.band) == 8
    assert series.points[0] == (1, 11.5)


def test_comparison_without_an_epoch(tmp_path):
    comparison = compare_runs([make_run(tmp_path / "new")])
    assert comparison.charts == []
    assert "nothing to draw" in write_comparison(comparison, tmp_path / "out").read_text()


def test_page_and_markdown_have_the_same_content(tmp_path, tiny_runs, wide_runs):
    comparison = compare_runs([*tiny_runs, *wide_runs])
    html = write_comparison(comparison, tmp_path / "out").read_text()
    markdown = (tmp_path / "out/compare.md").read_text()
    assert_self_contained(html)
    for text in (html, markdown):
        assert "wide is better than tiny" in text
        assert "batch_size" in text
    assert len(linked(markdown)) == 3
    assert all((tmp_path / "out" / name).is_file() for name in linked(markdown))
    with pytest.raises(UserError, match="is a run"):
        write_comparison(comparison, tiny_runs[0].path)


def answered(path, recipe, seed, predicted, sha256="same", classes=3):
    """A finished run whose network answered so on 60 test images of three classes."""
    run = made(path, recipe, 60.0, seed)
    names = tuple(f"class{index}" for index in range(classes))
    splits = {"test": SplitFingerprint(images=60, sha256=sha256)}
    run.write_json("data.json", DataFingerprint(classes=names, splits=splits))
    labels, none = torch.arange(60) % 3, torch.zeros(0, 3, 4, 4, dtype=torch.uint8)
    empty = torch.zeros(0, dtype=torch.int64)
    save_predictions(
        run, Predictions(labels, predicted, predicted, empty, torch.zeros(0), none, names)
    )
    return run


@pytest.fixture
def two_networks(tmp_path):
    """The first mistakes 4 images of class 0, the second all 20 of class 1."""
    labels = torch.arange(60) % 3
    first, second = labels.clone(), labels.clone()
    first[[0, 3, 6, 9]] = 2
    second[labels == 1] = 0
    return answered(tmp_path / "a", RECIPE, 0, first), answered(tmp_path / "b", WIDE, 0, second)


def test_images_and_classes_that_two_networks_differ_on(two_networks):
    (pair,) = compare_runs(two_networks).images
    assert (pair.test.only_first, pair.test.only_second) == (20, 4)
    assert pair.test.p == pytest.approx(2 * sum(math.comb(24, k) for k in range(5)) / 2**24)
    assert pair.only_second.tolist() == [0, 3, 6, 9]
    rows = [(row.name, row.first, row.second, row.points) for row in pair.classes]
    assert rows == [("class1", 20, 0, 100), ("class0", 16, 20, -20), ("class2", 20, 20, 0)]
    assert [row.p for row in pair.classes] == pytest.approx([2 / 2**20, 2 / 2**4, 1])
    assert [row.p_holm for row in pair.classes] == pytest.approx([6 / 2**20, 2 * 2 / 2**4, 1])
    text = image_verdict(pair)
    assert "Of 60 test images, 20 are classified correctly by tiny, seed 0 alone and 4 by" in text
    assert "they differ significantly (+26.67 points" in text


def test_page_shows_the_images_that_only_one_network_gets_right(two_networks, tmp_path):
    images = torch.arange(60).view(60, 1, 1, 1).expand(60, 3, 4, 4).byte()
    test = Split(images, torch.arange(60) % 3, ("class0", "class1", "class2"))
    comparison = compare_runs(two_networks)
    page = write_comparison(comparison, tmp_path / "out", test).read_text()
    assert "Where they differ: tiny, seed 0 and wide, seed 0" in page
    assert "1 of 3 classes differ significantly" in page
    assert "20 of 20 images" in page
    assert "4 of 4 images" in page
    assert (tmp_path / "out/figures/differ-1-first.png").is_file()
    other = Split(images, torch.zeros(60, dtype=torch.int64), test.classes)
    page = write_comparison(comparison, tmp_path / "out", other).read_text()
    assert "Pictures need the test set" in page


def test_networks_on_other_test_sets_are_not_compared(two_networks, tmp_path):
    labels = torch.arange(60) % 3
    other = answered(tmp_path / "c", WIDE, 1, labels, sha256="other")
    comparison = compare_runs([two_networks[0], other])
    assert comparison.images == []
    assert any("have other test sets" in note for note in comparison.image_notes)
    assert any("different test sets" in note for note in comparison.notes)
    assert "not compared, since their test sets" in comparison.verdicts[0]
    assert comparison.tests.rows == []
    assert len(comparison.fit.rows) == 2


def test_runs_of_one_recipe_with_other_test_sets_are_no_group(tmp_path):
    labels = torch.arange(60) % 3
    runs = [
        answered(tmp_path / name, RECIPE, seed, labels, sha256=sha256)
        for seed, (name, sha256) in enumerate({"a": "x", "b": "y", "c": "x", "d": ""}.items())
    ]
    groups = groups_of(runs)
    assert [[run.path.name for run in group.runs] for group in groups] == [["a", "c", "d"], ["b"]]
    assert groups[0].test_set == "x"


def test_runs_without_answers_are_named(tiny_runs, wide_runs):
    comparison = compare_runs([tiny_runs[0], wide_runs[0]])
    assert comparison.images == []
    assert "no answers on the test set are stored" in comparison.image_notes[0]
    assert "tiny, seed 0 and wide, seed 0" in comparison.image_notes[0]


def test_stored_evaluations_are_compared_where_there_are_no_predictions(two_networks, tmp_path):
    first, second = two_networks
    (first.artifact_dir / "predictions.safetensors").unlink()
    labels = torch.arange(60) % 3
    logits = torch.nn.functional.one_hot(labels, 3).float()
    record = EvaluationRecord(
        name="test", images="test", epoch=7, data_sha256="same",
        views={"none": figures(logits, labels, ["class0", "class1", "class2"])},
    )  # fmt: skip
    save_evaluation(first, record, Outputs(labels, logits))
    (pair,) = compare_runs([first, second]).images
    assert pair.first.network == "epoch 7, single views"
    assert (pair.test.only_first, pair.test.only_second) == (20, 0)


def test_intervals_are_cut_at_what_is_possible(tmp_path):
    """Two runs each, far apart: the interval of Student's t reaches beyond 100 points."""
    runs = [*made_seeds(tmp_path, RECIPE, (60, 20)), *made_seeds(tmp_path, WIDE, (10, 34))]
    comparison = compare_runs(runs)
    assert "95 % interval −100.00 to +100.00 points, cut" in comparison.verdicts[0]
    assert "no difference could be found" in comparison.verdicts[0]
    assert "cut at what is possible" in comparison.tests.rows[0][3]


def test_paths_are_escaped(tmp_path):
    runs = [made(tmp_path / "<script>|`*", RECIPE, 60.0)]
    html = write_comparison(compare_runs(runs), tmp_path / "out")
    assert "<script" not in html.read_text()
    assert "<script" not in (tmp_path / "out/compare.md").read_text()


def test_commands(tmp_path, tiny_runs, wide_runs, capsys):
    paths = [str(run.path) for run in (*tiny_runs, *wide_runs)]
    main(["compare", *paths, "--output", str(tmp_path / "out")])
    output = capsys.readouterr().out
    assert "60.10 ± 0.10" in output
    assert "wide is better than tiny" in output
    assert output.strip().endswith("compare.html")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "none")])
    main(["report", *paths[:3], "--reference", "resnet26w"])
    assert "Compared with the published resnet26w" in markdown_of(tiny_runs[0])
