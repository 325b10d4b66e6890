"""What seeds allow to say: Student's t, Welch's test, spreads."""

import math

import pytest
from made_runs import RECIPE, make_run
from residua.reports.comparison.welch import holm, welch
from residua.reports.seeds import (
    TYPICAL,
    assumed,
    lineage,
    prediction,
    sampling,
    siblings,
    unrest,
)
from residua.reports.student import incomplete_beta, quantile, two_sided


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (10, 2.2281), (100, 1.9840)]
)
def test_quantiles_are_those_of_the_tables(freedom, t):
    assert quantile(0.95, freedom) == pytest.approx(t, abs=5e-5)
    assert two_sided(t, freedom) == pytest.approx(0.05, abs=1e-5)
    assert two_sided(-t, freedom) == two_sided(t, freedom)


def test_one_degree_of_freedom_is_cauchys():
    for t in (0.1, 1.0, 3.0, 40.0):
        assert two_sided(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), abs=1e-12)
    assert two_sided(0.0, 3) == 1.0


def test_the_incomplete_beta_has_its_closed_forms():
    for x in (0.0, 0.05, 0.3, 0.5, 0.9, 1.0):
        assert incomplete_beta(1, 1, x) == pytest.approx(x, abs=1e-13)
        assert incomplete_beta(2, 3, x) == pytest.approx(x * x * (6 - 8 * x + 3 * x * x), abs=1e-13)
        assert incomplete_beta(5, 0.5, x) == pytest.approx(
            1 - incomplete_beta(0.5, 5, 1 - x), abs=1e-12
        )


def test_welch_has_its_closed_forms():
    test = welch([1.0, 2.0], [4.0, 5.0])
    assert test is not None
    assert test.freedom == pytest.approx(2.0)
    assert test.t == pytest.approx(-3 * math.sqrt(2))
    assert test.p == pytest.approx(1 - math.sqrt(18 / 20), abs=1e-12)
    assert test.difference == -3.0
    assert test.half_width == pytest.approx(4.30265 * math.sqrt(0.5), abs=1e-4)
    assert test.low < test.difference < 0 < test.high
    turned = welch([4.0, 5.0], [1.0, 2.0])
    assert turned is not None
    assert (turned.difference, turned.p) == (3.0, test.p)


def test_welch_gives_unequal_groups_broken_degrees_of_freedom():
    test = welch([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert test is not None
    assert test.t == pytest.approx(-2 / math.sqrt(5 / 3))
    assert test.freedom == pytest.approx((5 / 3) ** 2 / (1 / 18 + 16 / 18))
    assert 0.2 < test.p < 0.25


def test_welch_needs_two_values_each_and_some_spread():
    assert welch([1.0], [2.0, 3.0]) is None
    assert welch([1.0, 1.0], [2.0, 2.0]) is None
    test = welch([1.0, 1.0], [2.0, 2.5])
    assert test is not None
    assert test.freedom == pytest.approx(1.0)


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_prediction_interval_counts_the_mean_and_the_further_run():
    assert prediction([70.0, 71.0, 72.0]) == pytest.approx(4.3027 * math.sqrt(4 / 3), abs=1e-3)
    assert prediction([70.0, 71.0]) > 10


def test_single_runs_are_given_the_stated_half_width():
    assert sampling(80.0, 10_000) == pytest.approx(0.4)
    assert sampling(100.0, 10_000) == sampling(-1.0, 10_000) == 0.0
    expected = 1.96 * math.sqrt(2 * TYPICAL**2 + 0.16)
    assert assumed(80.0, 10_000) == assumed(80.0, 10_000, TYPICAL / 2) == pytest.approx(expected)
    assert assumed(80.0, 10_000, 3.0) > 8


def test_unrest_is_zero_on_a_line_and_grows_with_the_zigzag():
    line = {epoch: 2.0 * epoch for epoch in range(1, 30)}
    assert unrest(line, 15) == pytest.approx(0.0)
    zigzag = {epoch: float(epoch % 2) for epoch in range(1, 30)}
    assert unrest(zigzag, 15) == pytest.approx(1 / math.sqrt(1.5))
    assert unrest({1: 5.0, 6: 50.0, 11: 20.0}, 6) == 0.0


def test_siblings_differ_in_their_seed_alone(tmp_path):
    def run(folder, **changes):
        return make_run(tmp_path / folder, RECIPE.model_copy(update=changes))

    own, other = run("own", seed=0), run("other", seed=1, name="renamed")
    longer, twin = run("longer", seed=2, epochs=9), run("twin", seed=1)
    assert siblings(own, [own, longer, other, twin]) == [other]
    assert lineage(own.recipe) == lineage(other.recipe) != lineage(longer.recipe)
