"""Comparisons of runs."""

import pytest
from made_runs import RECIPE, finish, make_run, records
from test_run_report import assert_self_contained, linked, markdown_of

from residua.cli import main
from residua.errors import UserError
from residua.reports.comparison import compare_runs, write_comparison
from residua.reports.comparison.curves import mean_series
from residua.reports.comparison.groups import differing_fields, group_runs
from residua.reports.comparison.tables import accuracy_measures
from residua.reports.run_data import RunData

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
