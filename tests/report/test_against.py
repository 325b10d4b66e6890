"""A run held against what was published."""

import pytest
from made_runs import finish, make_run, records
from residua.reports.against import against, chosen, shared
from residua.reports.history import History
from residua.reports.judgement import Judgement, judge
from test_report import Page, linked, pages

from residua.errors import UserError
from residua.recipes import built_in as recipes
from residua.recipes.loading import resolve
from residua.reports import published, write_report


def log_of(name, more=0.0, upto=1000):
    """A log like the published one, with accuracies that much higher."""
    return [
        {
            "epoch": point.epoch, "step": 391 * point.epoch, "train_loss": 1.0,
            "train_accuracy": point.train_accuracy, "lr": 0.1, "grad_norm": 1.0, "seconds": 60.0,
            "images_per_second": 800.0, "test_loss": 2.0,
            "test_accuracy": point.test_accuracy + more, "test_top5": 90.0,
        }
        for point in published.curve(name).points
        if point.epoch <= upto
    ]  # fmt: skip


def run_of(path, name, more=0.0, upto=1000, seed=0, system=None):
    recipe = recipes.built_in(system or name).model_copy(update={"seed": seed})
    return make_run(path, recipe, log_of(name, more, upto))


def ended(run):
    finish(run)
    result = run.result
    log = run.log
    best = max(record["test_accuracy"] for record in log)
    result["last"]["test_accuracy"] = log[-1]["test_accuracy"]
    result["best"]["test_accuracy"] = best
    run.write_json("result.json", result)
    return run


def judged(run, name, siblings=()):
    return judge(run, History.of(run), published.reference(name), siblings)


@pytest.mark.parametrize(
    ("more", "verdict"),
    [(0.0, "within its seed spread"), (1.0, "within its seed spread"), (1.5, "ahead"),
     (-1.5, "behind")],
)  # fmt: skip
def test_a_single_run_is_judged_once_where_both_end(tmp_path, more, verdict):
    run = ended(run_of(tmp_path / "run", "resnet44", more))
    found = judged(run, "resnet44")
    assert [each.verdict for each in found] == [verdict] * 2
    assert [each.theirs for each in found] == [80.57, 80.87]
    assert found[0].difference == pytest.approx(more)
    assert found[0].half_width == pytest.approx(1.14, abs=0.02)


def test_an_unfinished_run_is_judged_where_it_stands(tmp_path):
    run = run_of(tmp_path / "run", "resnet44v2_run2", 4.0, upto=30, system="resnet44v2")
    found = judged(run, "resnet44v2")
    assert len(found) == 1
    assert "epoch 30" in found[0].what
    # Before the rate has annealed single epochs stray by points: 4 of them prove nothing.
    assert found[0].verdict == "within its seed spread"


def test_a_run_of_other_epochs_is_judged_at_the_last_common_one_too(tmp_path):
    run = ended(run_of(tmp_path / "run", "resnet26w"))
    found = judged(run, "resnet44")
    assert [each.theirs for each in found] == [64.17, 80.57, 80.87]
    assert "epoch 66, the last one" in found[0].what


def test_seeds_replace_the_assumed_spread(tmp_path):
    runs = [
        ended(run_of(tmp_path / str(seed), "resnet44", more, seed=seed))
        for seed, more in enumerate((0.9, 1.0, 1.1))
    ]
    found = judged(runs[0], "resnet44", runs[1:])
    assert [each.verdict for each in found] == ["ahead"] * 2
    assert found[0].ours == pytest.approx(81.57)
    assert found[0].half_width == pytest.approx(4.3027 * 0.1 * (4 / 3) ** 0.5, abs=1e-3)
    assert "mean of 3" in found[0].basis


def test_a_rounded_figure_widens_the_spread(tmp_path):
    run = make_run(tmp_path / "run", recipes.built_in("wrn28_10"), log_of("resnet44", 1.8))
    found = judged(ended(run), "wrn28_10")
    assert [each.theirs for each in found] == [82.0]
    assert "rounding" in found[0].basis
    assert found[0].half_width > 1.5


def test_a_difference_of_exactly_the_half_width_is_within():
    assert Judgement("", 51.0, 50.0, 1.0, "").verdict == "within its seed spread"
    assert Judgement("", 51.01, 50.0, 1.0, "").verdict == "ahead"


def test_the_system_is_found_by_the_recipes_name(tmp_path):
    run = run_of(tmp_path / "run", "resnet44")
    assert chosen(run, None).name == "resnet44"
    assert chosen(run, "resnet44v2_run1").name == "resnet44v2_run1"
    assert chosen(make_run(tmp_path / "mine"), None) is None
    with pytest.raises(UserError, match="did you mean resnet44"):
        chosen(run, "resnet45")


def test_only_epochs_that_both_have_are_tabulated(tmp_path):
    run = run_of(tmp_path / "run", "resnet26w", upto=12)
    pairs = shared(History.of(run), published.reference("resnet44"))
    assert [point.epoch for _, point in pairs] == [1, 2, 3, 4, 5, 6, 11]
    held = against(run, History.of(run), published.reference("resnet44"), [])
    assert [row[0] for row in held.table.rows] == ["1", "2", "3", "4", "5", "6", "11"]
    assert len(held.table.columns) == 7
    held = against(run, History.of(run), published.reference("resnet26w"), [])
    assert len(held.table.columns) == 9
    assert held.table.rows[0][3] == "+0.00 points"


def test_other_images_are_not_judged(tmp_path):
    run = make_run(tmp_path / "run", resolve("resnet44", ["--data.limit", "9"]), log_of("resnet44"))
    held = against(ended(run), History.of(run), published.reference("resnet44"), [])
    assert held.judgements == []
    assert "same images" in held.silence
    assert held.charts


def test_what_cannot_be_compared_is_said(tmp_path):
    words = ["--data.limit", "100", "--epochs", "5", "--tta", "mirror"]
    run = make_run(tmp_path / "run", resolve("resnet44", words), records(5))
    said = " ".join(against(run, History.of(run), published.reference("resnet44"), []).notes)
    for part in ("limited to 100", "5 epochs, the published one took 100", "differs", "mirror"):
        assert part in said
    run = make_run(tmp_path / "held", resolve("resnet44", ["--data.holdout", "9"]), [])
    said = " ".join(against(run, History.of(run), published.reference("resnet26w"), []).notes)
    assert "holdout" in said
    assert "not resnet26w" in said
    assert "evaluation mode" in said
    exact = make_run(tmp_path / "exact", recipes.built_in("resnet44"), [])
    said = " ".join(against(exact, History.of(exact), published.reference("resnet44"), []).notes)
    assert "This run" not in said


@pytest.mark.parametrize(
    ("name", "against_", "other"),
    [
        ("resnet44v2_run1", "resnet44v2_run1", False),
        ("resnet44v2_run1", "resnet44v2", True),
        ("resnet44v2", "resnet44v2_run1", True),
        ("resnet44v2", "resnet44v2_run2", False),
    ],
)
def test_a_single_published_run_may_have_its_own_recipe(tmp_path, name, against_, other):
    run = make_run(tmp_path / "run", recipes.built_in(name), [])
    said = " ".join(against(run, History.of(run), published.reference(against_), []).notes)
    assert ("another system" in said) == other


@pytest.mark.parametrize("name", published.names())
def test_every_published_system_has_its_page(tmp_path, name):
    system = published.reference(name).system.name
    run = ended(run_of(tmp_path / "run", "resnet26w", system=system))
    html = write_report(run, name).read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert "script" not in page.tags
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address[0] == "#"} <= page.ids
    markdown = (run.report / "report.md").read_text(encoding="utf-8")
    for text in (html, markdown):
        assert f"Beside the published {name}" in text
    curve = published.reference(name).curve
    assert ("figures/against-accuracy.svg" in linked(markdown)) == (curve is not None)
    assert ("gives no result" in markdown) == (name == "resnet34")


def test_the_section_appears_without_asking_and_not_elsewhere(tmp_path, finished):
    run = run_of(tmp_path / "own", "resnet44", upto=11)
    for text in pages(run):
        assert "Beside the published resnet44" in text
    for text in pages(finished):
        assert "Beside the published" not in text
    assert "Beside the published resnet44v2" in write_report(finished, "resnet44v2").read_text()


def test_a_run_without_an_epoch_is_borne(tmp_path):
    run = make_run(tmp_path / "run", recipes.built_in("resnet44v2"))
    for text in pages(run):
        assert "has not ended" in text


@pytest.mark.parametrize(("upto", "horizon"), [(2, 10), (12, 36), (40, 120)])
def test_a_young_run_is_not_lost_beside_the_whole_curve(tmp_path, upto, horizon):
    run = run_of(tmp_path / "run", "resnet44v2_run2", upto=upto, system="resnet44v2")
    found = against(run, History.of(run), published.reference("resnet44v2"), [])
    assert found.horizon == horizon
    assert all(f"epochs 1 to {min(100, horizon)}" in chart.alt for chart in found.charts)
    cut = f"shown up to epoch {horizon} of 100"
    assert (cut in write_report(run).read_text()) == (horizon < 100)
