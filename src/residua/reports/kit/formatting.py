"""How reports write numbers and settings."""

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MISSING = "–"
"""Stands where there is no figure."""
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def without_controls(text: str) -> str:
    """Text with U+FFFD for control characters and lone surrogates, which XML does not allow.

    Tabs and line ends stay. Everything that is written passes here: names in runs of strangers may
    contain anything.
    """
    return CONTROLS.sub("\ufffd", text)


def percent(value: float | None) -> str:
    """A percentage, with two decimals."""
    return MISSING if value is None else f"{_minus(f'{value:.2f}')} %"


def points(value: float | None) -> str:
    """A difference of percentages in percentage points, signed, with two decimals."""
    return MISSING if value is None else f"{_minus(f'{value:+.2f}')} points"


def loss(value: float | None) -> str:
    """A loss, with four decimals."""
    return MISSING if value is None else f"{value:.4f}"


def number(value: float | None) -> str:
    """Any other number, with three significant digits."""
    return MISSING if value is None else f"{value:.3g}"


def count(value: float | None) -> str:
    """A whole number, with commas at the thousands."""
    return MISSING if value is None else f"{round(value):,}"


def scaled(value: float) -> str:
    """A large number with its SI prefix, from k to P, and three significant digits."""
    for power, unit in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= power:
            return f"{value / power:.3g}{unit}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as hours, minutes and seconds."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def signed(value: float, digits: int) -> str:
    """A signed number with so many decimals."""
    return _minus(f"{value:+.{digits}f}")


def mean_std(values: Sequence[float], digits: int) -> str:
    """Mean ± sample standard deviation; the value itself where there is only one."""
    if not values:
        return MISSING
    mean = f"{statistics.mean(values):,.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):,.{digits}f}"


def format_p(p: float) -> str:
    """A p value with three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def shape(sizes: Sequence[int]) -> str:
    """The shape of a tensor: 3 × 32 × 32."""
    return " × ".join(map(str, sizes))


def setting(value: Any) -> str:
    """A value of a recipe in its JSON form, for people."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case dict():
            fields = {
                key: item for key, item in value.items() if key != "kind" and item is not None
            }
            text = ", ".join(f"{key} {_nested(item)}" for key, item in fields.items())
            return ": ".join(filter(None, [str(value.get("kind", "")), text])) or "default"
        case list():
            return ", ".join(map(_nested, value)) or "none"
        case float():
            return f"{value:g}"
    return str(value)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested dictionary, each with its dotted path."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _nested(value: Any) -> str:
    composite = isinstance(value, dict | list) and len(value) > 1
    return f"({setting(value)})" if composite else setting(value)


def _minus(text: str) -> str:
    return text.replace("-", "−")
