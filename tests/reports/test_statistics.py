"""Student's t, Welch's test, Holm's correction, and spreads over seeds."""

import math

import pytest

from residua.reports.kit.statistics import (
    DEFAULT_SEED_STD,
    assumed_half_width,
    binomial_stderr,
    holm,
    local_std,
    prediction_half_width,
    t_quantile,
    two_sided_p,
    welch_test,
)


@pytest.mark.parametrize(
    ("dof", "t"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (10, 2.2281), (100, 1.9840)]
)
def test_quantiles_match_tables(dof, t):
    assert t_quantile(0.95, dof) == pytest.approx(t, abs=5e-5)
    assert two_sided_p(t, dof) == pytest.approx(0.05, abs=1e-5)
    assert two_sided_p(-t, dof) == two_sided_p(t, dof)


@pytest.mark.parametrize("t", [0.0, 0.1, 1.0, 3.0, 40.0])
def test_p_has_its_closed_forms(t):
    assert two_sided_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), abs=1e-12)
    assert two_sided_p(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-12)
    angle = math.atan(t / math.sqrt(3))
    area = 2 / math.pi * (angle + math.sin(angle) * math.cos(angle))
    assert two_sided_p(t, 3) == pytest.approx(1 - area, abs=1e-12)


def test_p_with_many_degrees_of_freedom_is_normal():
    assert two_sided_p(1.5, 1e6) == pytest.approx(math.erfc(1.5 / math.sqrt(2)), abs=1e-6)


@pytest.mark.parametrize(("t", "dof"), [(0.5, 1.3), (3.0, 1.5), (30.0, 1.5), (6.0, 2.7)])
def test_p_with_fractional_degrees_of_freedom(t, dof):
    """Against the density, integrated by the midpoint rule over 1 / t."""
    constant = math.gamma((dof + 1) / 2) / math.gamma(dof / 2) / math.sqrt(math.pi * dof)
    steps = 20_000
    inverse = [(index + 0.5) / steps / t for index in range(steps)]
    density = [constant * (1 + 1 / u**2 / dof) ** (-(dof + 1) / 2) / u**2 for u in inverse]
    assert two_sided_p(t, dof) == pytest.approx(2 * sum(density) / steps / t, abs=2e-5)


def test_welch_has_its_closed_forms():
    test = welch_test([1.0, 2.0], [4.0, 5.0])
    assert test.dof == pytest.approx(2.0)
    assert test.t == pytest.approx(-3 * math.sqrt(2))
    assert test.p == pytest.approx(1 - math.sqrt(18 / 20), abs=1e-12)
    assert test.difference == -3.0
    assert test.half_width == pytest.approx(4.30265 * math.sqrt(0.5), abs=1e-4)
    assert test.low < test.difference < 0 < test.high
    swapped = welch_test([4.0, 5.0], [1.0, 2.0])
    assert (swapped.difference, swapped.p) == (3.0, test.p)


def test_welch_of_unequal_variances():
    test = welch_test([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert test.t == pytest.approx(-2 / math.sqrt(5 / 3))
    assert test.dof == pytest.approx((5 / 3) ** 2 / (1 / 18 + 16 / 18))
    assert 0.2 < test.p < 0.25


def test_welch_needs_two_values_each_and_some_variance():
    assert welch_test([1.0], [2.0, 3.0]) is None
    assert welch_test([1.0, 1.0], [2.0, 2.0]) is None
    assert welch_test([1.0, 1.0], [2.0, 2.5]).dof == pytest.approx(1.0)


def test_holm_multiplies_by_remaining_tests_and_is_monotonic():
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_prediction_interval_includes_the_further_run():
    values = [70.0, 71.0, 72.0]
    assert prediction_half_width(values) == pytest.approx(4.3027 * math.sqrt(4 / 3), abs=1e-3)
    assert prediction_half_width([70.0, 71.0]) > 10


def test_assumed_half_width_of_single_runs():
    assert binomial_stderr(80.0, 10_000) == pytest.approx(0.4)
    assert binomial_stderr(100.0, 10_000) == binomial_stderr(-1.0, 10_000) == 0.0
    expected = 1.96 * math.sqrt(2 * DEFAULT_SEED_STD**2 + 0.16)
    assert assumed_half_width(80.0, 10_000) == pytest.approx(expected)
    assert assumed_half_width(80.0, 10_000, noise=0.1) == pytest.approx(expected)
    assert assumed_half_width(80.0, 10_000, noise=2.0) > 5


def test_local_std_ignores_trends():
    line = {epoch: 2.0 * epoch for epoch in range(1, 30)}
    assert local_std(line, 15) == pytest.approx(0.0)
    zigzag = {epoch: float(epoch % 2) for epoch in range(1, 30)}
    assert local_std(zigzag, 15) == pytest.approx(1 / math.sqrt(1.5))
    assert local_std({1: 5.0, 6: 50.0, 11: 20.0}, 6) == 0.0
