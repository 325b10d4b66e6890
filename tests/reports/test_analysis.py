"""Key epochs, gaps, plateaus, and advice: every rule at its threshold."""

import shlex
from dataclasses import replace

import pytest
from made_runs import RECIPE, evaluated, records, run_data

from residua.augment import MixUp
from residua.models import Architecture
from residua.optim import EMA
from residua.optim.loss import CrossEntropy
from residua.recipes import built_in as recipes
from residua.recipes.loading import resolve
from residua.recipes.recipe import EarlyStopping
from residua.reports.published import curve
from residua.reports.run_report.advice import MIN_EVALUATIONS, AdviceInputs, advise
from residua.reports.run_report.analysis import (
    analyse,
    find_plateau,
    gap_verdict,
    gradient_warnings,
    key_epochs,
    thirds_table,
)

UNREMARKABLE = AdviceInputs(
    epochs=100, evaluated=100, gap=10.0, train_accuracy=85.0, plateau_share=0.10, max_lr=0.1,
    lr_share=0.0, loss_rise=1.0, eval_jitter=0.5, grad_norm=1.5, grad_norm_peak=2.0,
)  # fmt: skip
RESNET = recipes.built_in("resnet44v2")


def titles(recipe=RESNET, **changes):
    return [advice.title for advice in advise(recipe, replace(UNREMARKABLE, **changes))]


def reasons(run):
    return {record.epoch: reason for record, reason in key_epochs(run)}


def test_unremarkable_run_gets_no_advice():
    assert titles() == []


@pytest.mark.parametrize(
    ("below", "above", "title"),
    [
        ({"gap": 15.0}, {"gap": 15.01}, "Regularise more"),
        ({"train_accuracy": 98.99}, {"train_accuracy": 99.0}, "Augment more"),
        ({"loss_rise": 1.10}, {"loss_rise": 1.11}, "Smooth the labels"),
        ({"plateau_share": 0.05}, {"plateau_share": 0.049}, "Train longer"),
        (
            {"plateau_share": 0.20, "lr_share": 0.5},
            {"plateau_share": 0.21, "lr_share": 0.11},
            "Lower the learning rate on a plateau",
        ),
        ({"plateau_share": 0.20}, {"plateau_share": 0.21, "lr_share": 0.10}, "Stop earlier"),
        ({"gap": 0.0}, {"gap": -0.01}, "Regularise less, or train longer"),
        ({"eval_jitter": 2.0}, {"eval_jitter": 2.01}, "Average the weights"),
        ({"grad_norm_peak": 10.0}, {"grad_norm_peak": 10.1}, "Clip the gradient"),
    ],
)
def test_every_rule_has_its_threshold(below, above, title):
    assert titles(**below) == []
    assert titles(**above) == [title]


def test_reasons_name_the_figure_that_triggered_the_rule():
    advice = advise(RESNET, replace(UNREMARKABLE, gap=24.95, loss_rise=1.5))
    assert [item.title for item in advice] == ["Regularise more", "Smooth the labels"]
    assert "points: 24.95." in advice[0].reason
    assert "1.50 times" in advice[1].reason


MANY = {"gap": 30.0, "train_accuracy": 99.9, "loss_rise": 3.0, "eval_jitter": 5.0}
MANY |= {"grad_norm_peak": 99.0, "grad_norm": 123.456}


@pytest.mark.parametrize("name", recipes.names())
@pytest.mark.parametrize(
    "changes",
    [
        MANY,
        {"plateau_share": 0.5, "lr_share": 1.0},
        {"plateau_share": 0.5, "gap": -1.0},
        {"plateau_share": 0.0, "epochs": 400},
    ],
)
def test_every_override_changes_the_recipe(name, changes):
    recipe = recipes.built_in(name)
    for advice in advise(recipe, replace(UNREMARKABLE, **changes)):
        for override in advice.overrides:
            assert resolve(name, shlex.split(override)) != recipe, override


def test_advice_that_is_followed_already_is_not_given():
    recipe = RESNET.replace(
        augmentation=(MixUp(),),
        weight_average=EMA(),
        max_grad_norm=1.0,
        loss=CrossEntropy(label_smoothing=0.1),
        early_stopping=EarlyStopping(),
    )
    assert titles(recipe, **(MANY | {"gap": 10.0, "plateau_share": 0.5})) == []
    (advice,) = advise(recipe, replace(UNREMARKABLE, gap=-3.0))
    assert advice.overrides == ()
    assert "Nothing to change" in advice.title


def test_dropout_is_limited_and_schedules_are_left_alone():
    def overrides(recipe):
        return advise(recipe, replace(UNREMARKABLE, gap=20.0))[0].overrides

    maximal = RESNET.replace(architecture=Architecture(dropout=0.5))
    assert overrides(maximal) == ("--optimizer.weight_decay 0.001",)
    assert overrides(RESNET)[0] == "--architecture.dropout 0.3"


def test_short_and_unfinished_runs_are_not_judged_by_their_curves():
    assert titles(plateau_share=0.0, epochs=99) == []
    assert titles(plateau_share=0.0, evaluated=MIN_EVALUATIONS - 1) == []
    assert titles(loss_rise=9.0, evaluated=MIN_EVALUATIONS - 1) == []


def test_key_epochs_are_shares_best_target_first_and_last():
    log = [r.model_copy(update={"target_reached": r.epoch == 56}) for r in records(100)]
    assert reasons(run_data(log)) == {
        1: "first", 10: "10 % of the epochs", 25: "25 % of the epochs", 50: "50 % of the epochs",
        56: "target reached", 75: "75 % of the epochs", 99: "best", 100: "last",
    }  # fmt: skip


def test_shares_are_represented_by_evaluated_epochs():
    assert reasons(run_data(records(100, every=20, target_reached=False))) == {
        1: "first", 20: "10 % and 25 % of the epochs", 40: "50 % of the epochs",
        80: "75 % of the epochs", 100: "best, last",
    }  # fmt: skip


def test_one_epoch_is_first_best_and_last():
    assert reasons(run_data(records(1))) == {1: "first, best, last"}
    assert key_epochs(run_data([])) == []


def test_run_without_evaluation_has_no_best_epoch():
    run = run_data(records(3, every=9))
    assert run.best is None
    assert run.target_epoch is None
    assert reasons(run)[3] == "last"


def test_best_epoch_is_the_first_of_equals():
    assert evaluated([5.0, 5.0, 5.0]).best.epoch == 1


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [(24.9, "overfits"), (15.0, "moderate"), (5.0, "small"), (0.0, "small"), (-0.01, "underfits")],
)
def test_gaps_are_judged_by_rule(gap, verdict):
    assert verdict in gap_verdict(gap)


def test_plateau_begins_within_the_noise_of_the_best_epoch():
    plateau = find_plateau(evaluated([40.0, 59.4, 60.0, 59.6, 59.0]))
    assert plateau.noise == pytest.approx(0.49, abs=0.01)
    assert (plateau.since, plateau.last, plateau.share) == (3, 5, 0.4)
    assert find_plateau(evaluated([40.0, 59.6, 60.0, 59.6, 59.0])).since == 2
    assert find_plateau(evaluated([0.0, 0.0])).since == 1
    assert find_plateau(run_data([])) is None


@pytest.mark.parametrize(
    ("name", "since"), [("resnet44v2_run1", 94), ("resnet44v2_run2", 90), ("resnet26w", 64)]
)
def test_plateaus_of_published_logs(name, since):
    run = evaluated([point.test_accuracy for point in curve(name).points])
    assert find_plateau(run).since == since


def test_thirds_cover_every_epoch_once():
    table = thirds_table(evaluated([float(index) for index in range(10)]))
    assert [row[1] for row in table.rows] == ["1–3", "4–7", "8–10"]
    assert table.rows[0][3] == "0.00 % → 2.00 %"
    assert [row[:4] for row in thirds_table(evaluated([1.0])).rows] == [
        ("Middle", "1", "50.00 %", "1.00 %")
    ]


def test_analysis_needs_only_the_log():
    assert "since epoch" in analyse(run_data(records(8))).plateau_text
    assert analyse(run_data([], name=RECIPE.name)) is None


def test_gradient_warnings_are_shown_once():
    run = evaluated([1.0, 2.0, 3.0], gradient_warning="gradients vanish in stem")
    assert gradient_warnings(run) == ["Epoch 1: gradients vanish in stem."]
    assert gradient_warnings(evaluated([1.0])) == []
