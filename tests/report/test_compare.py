"""Runs compared among themselves."""

import pytest
from made_runs import RECIPE, finish, make_run, records
from residua.reports.comparison.bands import mean
from test_report import Page, linked

from residua.cli import main
from residua.errors import UserError
from residua.reports.comparison import comparison, write_comparison
from residua.reports.comparison.groups import MEASURES, differences, grouped, spread

WIDE = RECIPE.model_copy(update={"name": "wide", "batch_size": 64})


def made(path, recipe, last, seed=0, done=True):
    log = records(8)
    for record in log:
        record["test_accuracy"] += seed
    run = make_run(path, recipe.model_copy(update={"seed": seed}), log)
    if done:
        finish(run)
        result = run.result
        result["last"]["test_accuracy"] = last
        result["best"]["test_accuracy"] = last + 1
        run.write_json("result.json", result)
    return run


@pytest.fixture
def two(tmp_path):
    """Three seeds each of two recipes, 2 points apart."""
    return [
        made(tmp_path / f"{recipe.name}{seed}", recipe, base + 0.1 * seed, seed)
        for recipe, base in ((RECIPE, 60.0), (WIDE, 62.0))
        for seed in range(3)
    ]


def test_runs_that_differ_in_seed_and_name_are_one_group(tmp_path, two):
    renamed = RECIPE.model_copy(update={"name": "renamed"})
    groups = grouped([*two, made(tmp_path / "more", renamed, 60.3, seed=3)])
    assert [(group.label, len(group.members)) for group in groups] == [("tiny", 4), ("wide", 3)]
    assert groups[0].values(MEASURES[0]) == pytest.approx([60.0, 60.1, 60.2, 60.3])


def test_a_seed_counts_once(tmp_path, two):
    groups = grouped([*two, made(tmp_path / "twin", RECIPE, 70.0, seed=1)])
    assert groups[0].values(MEASURES[0]) == pytest.approx([60.0, 60.1, 60.2])
    assert len(groups[0].repeated) == 1
    said = comparison([*two, groups[0].repeated[0].run])
    assert any("no independent evidence" in note for note in said.notes)


def test_recipes_of_one_name_are_told_apart(two, tmp_path):
    other = RECIPE.model_copy(update={"batch_size": 32})
    groups = grouped([two[0], made(tmp_path / "other", other, 60.0)])
    assert [group.label for group in groups] == ["tiny (batch_size 128)", "tiny (batch_size 32)"]
    recipes = [group.recipe for group in groups]
    assert differences(recipes) == [("batch_size", ["128", "32"])]


def test_a_real_difference_is_said(two):
    said = comparison(two)
    assert said.verdicts[0].startswith(
        "wide is ahead of tiny, test accuracy, last epoch: by 2.00 points"
    )
    assert "p < 0.001, n = 3 and 3" in said.verdicts[0]
    assert said.tests.rows[0][:3] == ("tiny − wide", "Test accuracy, last epoch", "−2.00 points")
    assert said.figures.rows[0][:3] == ("tiny", "3", "60.10 ± 0.10")


def test_how_far_the_training_set_was_learned_is_told(two):
    for run in two[3:]:
        log = run.log
        log[-1] |= {"train_accuracy": 90.0, "train_loss": 0.25}
        run.rewind(log)
    said = comparison(two)
    assert said.fit.rows == [
        ("tiny", "80.00 ± 0.00", "0.5000 ± 0.0000", "19.90 ± 0.10"),
        ("wide", "90.00 ± 0.00", "0.2500 ± 0.0000", "27.90 ± 0.10"),
        ("wide − tiny", "+10.00", "−0.2500", "+8.00"),
    ]
    assert len(comparison(two[:3]).fit.rows) == 1


def test_noise_is_not_called_a_difference(tmp_path):
    runs = [
        made(tmp_path / f"{recipe.name}{seed}", recipe, base + seed, seed)
        for recipe, base in ((RECIPE, 60.0), (WIDE, 60.5))
        for seed in range(2)
    ]
    verdict = comparison(runs).verdicts[0]
    assert "no difference is shown (−0.50 points, 95 % interval −" in verdict
    assert "With so few runs only a difference of about" in verdict


def test_too_few_runs_are_not_tested(tmp_path, two):
    said = comparison([*two[:3], two[3]])
    assert "n is too small for a test (n = 3 and 1)" in said.verdicts[0]
    assert said.tests is None
    alike = [made(tmp_path / f"{n}{s}", r, 60.0, s)
             for n, r in (("a", RECIPE), ("b", WIDE)) for s in (0, 1)]  # fmt: skip
    assert "no spread among the runs" in comparison(alike).verdicts[0]


def test_one_group_has_figures_and_no_verdict(two):
    said = comparison(two[:3])
    assert said.verdicts == []
    assert said.differences is None
    assert len(said.charts) == 3


def test_three_groups_are_corrected_for_their_pairs(two, tmp_path):
    third = RECIPE.model_copy(update={"name": "third", "batch_size": 32})
    more = [made(tmp_path / f"third{seed}", third, 60.2 + 0.1 * seed, seed) for seed in range(3)]
    said = comparison([*two, *more])
    assert len(said.verdicts) == 3
    assert len(said.tests.rows) == 6
    plain, corrected = (
        [row[place] for row in said.tests.rows if row[1].endswith("last epoch")] for place in (6, 7)
    )
    assert all(float(c) >= float(p) for p, c in zip(plain, corrected, strict=True)
               if "<" not in p + c)  # fmt: skip


def test_unfinished_runs_are_in_the_curves_alone(tmp_path, two):
    said = comparison([two[0], made(tmp_path / "late", RECIPE, 0.0, seed=5, done=False)])
    assert said.figures.rows[0][1] == "1"
    assert any("unfinished" in note for note in said.notes)
    series = mean(said.groups[0], "", 0)
    assert series.label == "tiny (n = 2)"
    assert len(series.points) == len(series.band) == 8
    assert series.points[0] == (1, 11.5)


def test_curves_without_an_epoch_are_left_out(tmp_path):
    said = comparison([make_run(tmp_path / "new")])
    assert said.charts == []
    assert "nothing to draw" in write_comparison(said, tmp_path / "out").read_text()


def test_means_are_written_with_their_deviation():
    assert spread([], 2) == "–"
    assert spread([1234.5], 1) == "1,234.5"
    assert spread([1.0, 3.0], 2) == "2.00 ± 1.41"


def test_the_page_needs_nothing_else_and_says_what_the_markdown_says(two, tmp_path):
    html = write_comparison(comparison(two), tmp_path / "out")
    text, markdown = html.read_text(), (tmp_path / "out/compare.md").read_text()
    page = Page(text)
    assert page.open == []
    assert not {"script", "link"} & set(page.tags)
    assert {address[1:] for address in page.addresses} <= page.ids
    for said in (text, markdown):
        assert "wide is ahead of tiny" in said
        assert "batch_size" in said
    names = linked(markdown)
    assert len(names) == 3
    assert all((tmp_path / "out" / name).is_file() for name in names)
    with pytest.raises(UserError, match="holds a run"):
        write_comparison(comparison(two), two[0].path)


def test_paths_are_escaped(tmp_path):
    path = tmp_path / "<script>|`*"
    html = write_comparison(comparison([made(path, RECIPE, 60.0)]), tmp_path / "out")
    assert "<script" not in html.read_text()
    assert "<script" not in (tmp_path / "out/compare.md").read_text()


def test_the_command_prints_a_table_and_the_path(two, tmp_path, capsys):
    out = tmp_path / "out"
    main(["compare", *(str(run.path) for run in two), "--output", str(out)])
    said = capsys.readouterr().out
    assert "60.10 ± 0.10" in said
    assert "wide is ahead of tiny" in said
    assert said.strip().endswith("compare.html")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "none")])
    main(["report", *(str(run.path) for run in two[:3]), "--reference", "resnet26w"])
    assert "Beside the published resnet26w" in (two[0].report / "report.md").read_text()
