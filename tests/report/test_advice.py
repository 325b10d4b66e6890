"""Analysis and recommendations: every rule at its threshold."""

import shlex
from dataclasses import replace

import pytest
from made_runs import RECIPE, make_run, records
from residua.reports.advice import Figures, advise
from residua.reports.analysis import analysis, plateau, thirds, warnings
from residua.reports.history import History

from residua.augment import MixUp
from residua.models import Architecture
from residua.optim import EMA
from residua.optim.loss import CrossEntropy
from residua.recipes import built_in as recipes
from residua.recipes.loading import resolve
from residua.recipes.recipe import EarlyStopping
from residua.reports import advice

QUIET = Figures(
    epochs=100, evaluated=100, gap=10.0, train_accuracy=85.0, plateau_share=0.10,
    highest_rate=0.1, rate_share=0.0, loss_rise=1.0, swing=0.5, norm=1.5, norm_peak=2.0,
)  # fmt: skip
PLAIN = recipes.built_in("resnet44v2")


def titles(figures, recipe=PLAIN):
    return [each.title for each in advise(recipe, figures)]


def changed(**changes):
    return replace(QUIET, **changes)


def test_nothing_is_recommended_without_a_reason():
    assert titles(QUIET) == []


@pytest.mark.parametrize(
    ("below", "above", "title"),
    [
        ({"gap": 15.0}, {"gap": 15.01}, "Regularise more"),
        ({"train_accuracy": 98.99}, {"train_accuracy": 99.0}, "Augment more"),
        ({"loss_rise": 1.10}, {"loss_rise": 1.11}, "Smooth the targets"),
        ({"plateau_share": 0.05}, {"plateau_share": 0.049}, "Train longer"),
        (
            {"plateau_share": 0.20, "rate_share": 0.5},
            {"plateau_share": 0.21, "rate_share": 0.11},
            "Lower the rate on a plateau",
        ),
        ({"plateau_share": 0.20}, {"plateau_share": 0.21, "rate_share": 0.10}, "Stop earlier"),
        ({"gap": 0.0}, {"gap": -0.01}, "Regularise less, or train longer"),
        ({"swing": 2.0}, {"swing": 2.01}, "Average the weights"),
        ({"norm_peak": 10.0}, {"norm_peak": 10.1}, "Clip the gradient"),
    ],
)
def test_every_rule_has_its_threshold(below, above, title):
    assert titles(changed(**below)) == []
    assert titles(changed(**above)) == [title]


def test_every_rule_names_the_figure_that_triggered_it():
    found = {each.title: each.rule for each in advise(PLAIN, changed(gap=24.95, loss_rise=1.5))}
    assert "it is 24.95" in found["Regularise more"]
    assert "1.50 times" in found["Smooth the targets"]


LOUD = [
    changed(gap=30.0, train_accuracy=99.9, loss_rise=3.0, swing=5.0, norm_peak=99.0, norm=123.456),
    changed(plateau_share=0.5, rate_share=1.0),
    changed(plateau_share=0.5, gap=-1.0),
    changed(plateau_share=0.0, epochs=400),
]


@pytest.mark.parametrize("name", recipes.names())
@pytest.mark.parametrize("figures", LOUD)
def test_every_recommended_override_is_understood(name, figures):
    recipe = recipes.built_in(name)
    for each in advise(recipe, figures):
        for way in each.overrides:
            assert resolve(name, shlex.split(way)) != recipe, way


def test_what_is_there_already_is_not_recommended():
    mixing = PLAIN.model_copy(
        update={
            "augmentation": (MixUp(),),
            "weight_average": EMA(),
            "max_grad_norm": 1.0,
            "loss": CrossEntropy(label_smoothing=0.1),
            "early_stopping": EarlyStopping(),
        }
    )
    loud = replace(LOUD[0], gap=10.0, plateau_share=0.5)
    assert titles(loud, mixing) == []
    expected = advise(mixing, changed(gap=-3.0))
    assert [each.overrides for each in expected] == [()]
    assert "Nothing to change" in expected[0].title


def test_dropout_has_its_limit_and_schedules_are_left_alone():
    soaked = PLAIN.model_copy(update={"architecture": Architecture(dropout=0.5)})
    ways = advise(soaked, changed(gap=20.0))[0].overrides
    assert ways == ("--optimizer.weight_decay 0.001",)
    assert advise(PLAIN, changed(gap=20.0))[0].overrides[0] == "--architecture.dropout 0.3"


def test_an_unfinished_or_short_run_is_not_told_to_train_longer():
    assert titles(changed(plateau_share=0.0, epochs=99)) == []
    assert titles(changed(plateau_share=0.0, evaluated=advice.ENOUGH - 1)) == []


def test_a_loss_that_rises_within_few_epochs_is_not_judged():
    assert titles(changed(loss_rise=9.0, evaluated=advice.ENOUGH - 1)) == []


def history_of(accuracies, **more):
    found = [
        {
            "epoch": place + 1, "train_loss": 1.0, "train_accuracy": 50.0 + place, "lr": 0.1,
            "grad_norm": 1.0, "test_loss": 1.0, "test_accuracy": accuracy, **more,
        }
        for place, accuracy in enumerate(accuracies)
    ]  # fmt: skip
    return History(found, "test")


def test_a_plateau_begins_within_the_noise_of_the_best():
    found = plateau(history_of([40.0, 59.4, 60.0, 59.6, 59.0]), 10_000)
    assert found.noise == pytest.approx(0.49, abs=0.01)
    assert (found.since, found.last, found.share) == (3, 5, 0.4)
    found = plateau(history_of([40.0, 59.6, 60.0, 59.6, 59.0]), 10_000)
    assert found.since == 2
    assert plateau(history_of([0.0, 0.0]), 100).since == 1
    assert plateau(History([], "test"), 100) is None


def test_thirds_cover_every_epoch_once():
    table = thirds(history_of([float(place) for place in range(10)]))
    assert [row[1] for row in table.rows] == ["1–3", "4–7", "8–10"]
    assert table.rows[0][2] == "50.00 % → 52.00 %"
    assert [row[:4] for row in thirds(history_of([1.0])).rows] == [
        ("Middle", "1", "50.00 %", "1.00 %")
    ]


def test_a_run_is_analysed_from_its_log_alone(tmp_path):
    run = make_run(tmp_path / "run", log=records(8))
    found = analysis(run, History.of(run))
    assert "since epoch" in found.plateau
    assert analysis(make_run(tmp_path / "new", RECIPE), History([], "test")) is None


def test_warnings_of_the_log_are_told_once():
    history = history_of([1.0, 2.0, 3.0], gradient_warning="gradients vanish in stem")
    assert warnings(history) == ["Epoch 1: gradients vanish in stem."]
    assert warnings(history_of([1.0])) == []


@pytest.mark.parametrize(
    ("name", "since"), [("resnet44v2_run1", 94), ("resnet44v2_run2", 90), ("resnet26w", 64)]
)
def test_the_published_plateaus_are_found(name, since):
    from residua.reports.published import curve

    found = plateau(history_of([point.test_accuracy for point in curve(name).points]), 10_000)
    assert found.since == since
