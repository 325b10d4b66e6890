"""How numbers and values are written: the same way on every page."""

from typing import Any

ABSENT = "–"
"""What stands where there is no figure."""


def percent(value: float | None, signed: bool = False) -> str:
    """A percentage or a difference of percentages, with two decimals."""
    if value is None:
        return ABSENT
    return (f"{value:+.2f}" if signed else f"{value:.2f}").replace("-", "−") + " %"


def loss(value: float | None) -> str:
    """A loss, with four decimals."""
    return ABSENT if value is None else f"{value:.4f}"


def number(value: float | None) -> str:
    """Any other number, with three significant figures."""
    return ABSENT if value is None else f"{value:.3g}"


def count(value: float | None) -> str:
    """A whole number, with a comma at the thousands."""
    return ABSENT if value is None else f"{round(value):,}"


def scaled(value: float) -> str:
    """A large count with its prefix, from k to P, three significant figures."""
    for power, unit in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= power:
            return f"{value / power:.3g}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def epoch(value: int | None) -> str:
    """An epoch's name."""
    return ABSENT if value is None else f"epoch {value}"


def setting(value: Any) -> str:
    """A value of a recipe, as JSON has it, in words."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case dict():
            fields = {
                key: each for key, each in value.items() if key != "kind" and each is not None
            }
            inside = ", ".join(f"{key} {_nested(each)}" for key, each in fields.items())
            return ": ".join(filter(None, [str(value.get("kind", "")), inside])) or "default"
        case list():
            return ", ".join(_nested(each) for each in value) or "none"
        case float():
            return f"{value:g}"
    return str(value)


def _nested(value: Any) -> str:
    several = isinstance(value, dict | list) and len(value) > 1
    return f"({setting(value)})" if several else setting(value)


def points(value: float) -> str:
    """A difference of percentages, signed."""
    return percent(value, signed=True).replace(" %", " points")
