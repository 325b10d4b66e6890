"""A run compared with a published one."""

import pytest
from made_runs import finish, make_run, records
from test_run_report import assert_self_contained, linked, markdown_of, pages

from residua.errors import UserError
from residua.recipes import built_in as recipes
from residua.recipes.loading import resolve
from residua.reports import published, write_report
from residua.reports.published.comparison import (
    caveats,
    chart_horizon,
    comparison_charts,
    epochs_table,
    find_reference,
    shared_epochs,
)
from residua.reports.published.judgement import Judgement, judge
from residua.reports.run_data import RunData
from residua.runs.records import EpochRecord


def log_of(name, offset=0.0, until=1000):
    """A log like the published one, with accuracies higher by an offset."""
    return [
        EpochRecord(
            epoch=point.epoch, step=391 * point.epoch, train_loss=1.0,
            train_accuracy=point.train_accuracy, lr=0.1, grad_norm=1.0, seconds=60.0,
            images_per_second=800.0, test_loss=2.0, test_accuracy=point.test_accuracy + offset,
            test_top5=90.0, test_images=10_000,
        )
        for point in published.curve(name).points
        if point.epoch <= until
    ]  # fmt: skip


def run_of(path, name, offset=0.0, until=1000, seed=0, system=None):
    recipe = recipes.built_in(system or name).replace(seed=seed)
    return make_run(path, recipe, log_of(name, offset, until))


def finished(run):
    accuracies = [record.test_accuracy for record in run.log]
    return finish(run, last=accuracies[-1], best=max(accuracies))


def judged(run, name, replicates=()):
    data = RunData.read(run)
    return judge(data, published.reference(name), [RunData.read(other) for other in replicates])


def caveats_of(run, name):
    return " ".join(caveats(RunData.read(run), published.reference(name)))


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        (0.0, "within its seed spread"),
        (1.0, "within its seed spread"),
        (1.5, "ahead"),
        (-1.5, "behind"),
    ],
)
def test_run_is_judged_once_where_both_end(tmp_path, offset, verdict):
    judgements = judged(finished(run_of(tmp_path / "run", "resnet44", offset)), "resnet44")
    assert [judgement.verdict for judgement in judgements] == [verdict] * 2
    assert [judgement.theirs for judgement in judgements] == [80.57, 80.87]
    assert judgements[0].difference == pytest.approx(offset)
    assert judgements[0].half_width == pytest.approx(1.14, abs=0.02)


def test_unfinished_run_is_judged_at_its_last_common_epoch(tmp_path):
    run = run_of(tmp_path / "run", "resnet44v2_run2", 4.0, until=30, system="resnet44v2")
    (judgement,) = judged(run, "resnet44v2")
    assert "epoch 30" in judgement.subject
    # Before the rate has annealed single epochs vary by points: 4 points are no evidence.
    assert judgement.verdict == "within its seed spread"


def test_run_of_other_length_is_judged_at_last_common_epoch_too(tmp_path):
    judgements = judged(finished(run_of(tmp_path / "run", "resnet26w")), "resnet44")
    assert [judgement.theirs for judgement in judgements] == [64.17, 80.57, 80.87]
    assert "epoch 66, the last one" in judgements[0].subject


def test_replicates_replace_the_assumed_spread(tmp_path):
    runs = [
        finished(run_of(tmp_path / str(seed), "resnet44", offset, seed=seed))
        for seed, offset in enumerate((0.9, 1.0, 1.1))
    ]
    judgements = judged(runs[0], "resnet44", runs[1:])
    assert [judgement.verdict for judgement in judgements] == ["ahead"] * 2
    assert judgements[0].ours == pytest.approx(81.57)
    half_width = 4.3027 * 0.1 * (4 / 3) ** 0.5
    assert judgements[0].half_width == pytest.approx(half_width, abs=1e-3)
    assert "mean of 3" in judgements[0].basis


def test_rounded_figure_widens_the_spread(tmp_path):
    run = make_run(tmp_path / "run", recipes.built_in("wrn28_10"), log_of("resnet44", 1.8))
    (judgement,) = judged(finished(run), "wrn28_10")
    assert judgement.theirs == 82.0
    assert "rounding" in judgement.basis
    assert judgement.half_width > 1.5


def test_difference_of_exactly_the_half_width_is_within():
    assert Judgement("", 51.0, 50.0, 1.0, "").verdict == "within its seed spread"
    assert Judgement("", 51.01, 50.0, 1.0, "").verdict == "ahead"


def test_reference_is_found_by_name_or_by_the_recipes_name():
    recipe = recipes.built_in("resnet44")
    assert find_reference(recipe, None).name == "resnet44"
    assert find_reference(recipe, "resnet44v2_run1").name == "resnet44v2_run1"
    assert find_reference(recipe.replace(name="mine"), None) is None
    with pytest.raises(UserError, match="did you mean resnet44"):
        find_reference(recipe, "resnet45")


def test_table_has_the_epochs_of_both(tmp_path):
    run = RunData.read(run_of(tmp_path / "run", "resnet26w", until=12))
    reference = published.reference("resnet44")
    epochs = [1, 2, 3, 4, 5, 6, 11]
    assert [point.epoch for _, point in shared_epochs(run, reference)] == epochs
    table = epochs_table(run, reference)
    assert [row[0] for row in table.rows] == [str(epoch) for epoch in epochs]
    assert len(table.columns) == 7
    table = epochs_table(run, published.reference("resnet26w"))
    assert len(table.columns) == 9
    assert table.rows[0][3] == "+0.00 points"


def test_run_on_other_images_is_not_judged(tmp_path):
    recipe = resolve("resnet44", ["--data.limit", "9"])
    run = finished(make_run(tmp_path / "run", recipe, log_of("resnet44")))
    for text in pages(run):
        assert "No judgement: the two were not trained on the same images." in text
        assert "figures/published-accuracy.svg" in markdown_of(run)


def test_differences_from_the_published_run_are_caveats(tmp_path):
    words = ["--data.limit", "100", "--epochs", "5", "--tta", "mirror"]
    run = make_run(tmp_path / "run", resolve("resnet44", words), records(5))
    text = caveats_of(run, "resnet44")
    for part in ("limited to 100", "5 epochs, the published one took 100", "differs", "mirror"):
        assert part in text
    run = make_run(tmp_path / "holdout", resolve("resnet44", ["--data.holdout", "9"]), [])
    text = caveats_of(run, "resnet26w")
    assert "holdout" in text
    assert "not resnet26w" in text
    assert caveats_of(make_run(tmp_path / "same", recipes.built_in("resnet44")), "resnet44") == ""


@pytest.mark.parametrize(
    ("name", "reference", "other"),
    [
        ("resnet44v2_run1", "resnet44v2_run1", False),
        ("resnet44v2_run1", "resnet44v2", True),
        ("resnet44v2", "resnet44v2_run1", True),
        ("resnet44v2", "resnet44v2_run2", False),
    ],
)
def test_single_published_run_may_have_its_own_recipe(tmp_path, name, reference, other):
    run = make_run(tmp_path / "run", recipes.built_in(name), [])
    assert ("another system" in caveats_of(run, reference)) == other


@pytest.mark.slow
@pytest.mark.parametrize("name", published.names())
def test_every_published_system_has_its_page(tmp_path, name):
    reference = published.reference(name)
    run = finished(run_of(tmp_path / "run", "resnet26w", system=reference.system.name))
    html = write_report(run, name).read_text(encoding="utf-8")
    assert_self_contained(html)
    markdown = markdown_of(run)
    for text in (html, markdown):
        assert f"Compared with the published {name}" in text
    has_curve = reference.curve is not None
    assert ("figures/published-accuracy.svg" in linked(markdown)) == has_curve
    assert ("a target but no result" in markdown) == (name == "resnet34")


def test_section_is_shown_for_published_recipes_and_on_request(tmp_path, finished):
    for text in pages(run_of(tmp_path / "own", "resnet44", until=11)):
        assert "Compared with the published resnet44" in text
    for text in pages(finished):
        assert "Compared with the published" not in text
    page = write_report(finished, "resnet44v2").read_text()
    assert "Compared with the published resnet44v2" in page


def test_run_without_an_epoch_is_compared(tmp_path):
    for text in pages(make_run(tmp_path / "run", recipes.built_in("resnet44v2"))):
        assert "the run is not finished" in text


@pytest.mark.parametrize(("until", "horizon"), [(2, 10), (12, 36), (40, 120)])
def test_charts_end_soon_after_a_young_run(tmp_path, until, horizon):
    run = run_of(tmp_path / "run", "resnet44v2_run2", until=until, system="resnet44v2")
    data = RunData.read(run)
    assert chart_horizon(data) == horizon
    charts = comparison_charts(data, published.reference("resnet44v2"), horizon)
    assert len(charts) == 2
    assert all(f"epochs 1 to {min(100, horizon)}" in chart.alt for chart in charts)
    note = f"shown up to epoch {horizon} of 100"
    assert (note in write_report(run).read_text()) == (horizon < 100)
