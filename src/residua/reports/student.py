"""Student's t-distribution, from its definition: what small numbers of seeds allow to say."""

import math

TINY = 1e-300
TERMS = 500
"""Of the continued fraction; a handful suffice where it is used."""


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction.

    Lentz's method on DLMF 8.17.22, for a and b above 0 and x in [0, 1]; good to about 1e-12.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(logs + a * math.log(x) + b * math.log1p(-x)) / a
    below, above, value = 0.0, 1.0, 1.0
    for term in range(TERMS):
        half = term // 2
        if term == 0:
            factor = 1.0
        elif term % 2:
            factor = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            factor = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        below = 1 / _away_from_zero(1 + factor * below)
        above = _away_from_zero(1 + factor / above)
        value *= below * above
        if abs(below * above - 1) < 1e-15:
            break
    return front * (value - 1)


def _away_from_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY


def two_sided(t: float, freedom: float) -> float:
    """The chance that |T| is at least |t|.

    Args:
        t: the statistic.
        freedom: degrees of freedom, above 0, not always whole.
    """
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def quantile(confidence: float, freedom: float) -> float:
    """The t that |T| stays below with this chance: 0.95 gives an interval's half-width in sd.

    Args:
        confidence: above 0 and below 1.
        freedom: degrees of freedom, above 0.
    """
    low, high = 0.0, 1.0
    while two_sided(high, freedom) > 1 - confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > 1 - confidence else (low, middle)
    return (low + high) / 2
