"""Tables of a benchmark in Markdown: ratios only; the JSON file has the seconds."""

from collections.abc import Callable, Iterable
from statistics import median

from markupsafe import Markup

from residua.reports.kit.formatting import MISSING
from residua.reports.kit.tables import Table, markdown_table
from speed.results import Bench, Comparison, Ratio, Result, measured_on, ratio

COMPILED = ("compiled", "cuda_graphs")
OURS = ("ours", *COMPILED, "bfloat16")
NOT_TRAINING = ("input", "matmul")
"""Entries that take no training steps."""

SPEED = """\
Speed. "× NAME": how many times as fast as NAME's loop. "of matmul": FLOP per second in percent of a
large matrix product's. "input, of a step": time to make a batch, or to wait for it, in percent of a
step."""
STARTUP = """\
Memory and start-up. "memory": peak memory relative to the plain loop. "cold start", "warm start":
time from the command to the end of the first step, relative to the plain loop's cold start; cold is
a new process without compiled code, warm a second process that reuses it. "imports / data, network
/ first step": parts of the cold start. "break-even": steps after which compiling has saved as much
time as it cost, from a cold and from a warm start."""
AUGMENTATION = """\
Augmentation alone, of the same images: "× NAME" is how many times as fast as NAME."""


def tables(bench: Bench) -> str:
    """All tables of a benchmark."""
    parts = [
        f"{_conditions(bench)}\n\n{_descriptions(bench.training)}",
        f"{SPEED}\n\n{_speed_table(bench)}",
        f"{STARTUP}\n\n{_startup_table(bench)}",
    ]
    if bench.augmentation:
        descriptions = _descriptions(bench.augmentation)
        parts.append(f"{AUGMENTATION}\n\n{descriptions}\n\n{_augmentation_table(bench)}")
    parts += [f"Skipped: {skipped}." for skipped in bench.skipped]
    return "\n\n".join(parts)


def _conditions(bench: Bench) -> str:
    rounds = len(bench.training[0].results[0].samples) if bench.training else 0
    return (
        f"{measured_on(bench.environment)}, data set {bench.data}. Median of {rounds} alternating "
        "rounds, minimum and maximum in brackets."
    )


def _descriptions(comparisons: Iterable[Comparison]) -> str:
    descriptions = {
        result.name: result.description
        for comparison in comparisons
        for result in comparison.results
    }
    return "\n".join(f"- `{name}`: {text}" for name, text in descriptions.items())


def _training_results(comparison: Comparison) -> list[Result]:
    return [result for result in comparison.results if result.name not in NOT_TRAINING]


def _other_names(comparisons: Iterable[Comparison]) -> list[str]:
    """The names of other loops and libraries, without duplicates."""
    names = [result.name for comparison in comparisons for result in comparison.results]
    return [name for name in dict.fromkeys(names) if name not in OURS + NOT_TRAINING]


def _speed_table(bench: Bench) -> str:
    rows, names = [], _other_names(bench.training)
    for comparison in bench.training:
        matmul = comparison.result("matmul")
        for result in _training_results(comparison):
            of_matmul = MISSING
            if matmul:
                limit = [bench.matmul_flops / seconds for seconds in matmul.step_seconds]
                rate = [comparison.flops / seconds for seconds in result.step_seconds]
                of_matmul = _percent(ratio(rate, limit))
            rows.append(
                [
                    Markup(
                        f"`{comparison.name}`, batch {comparison.batch_size}, "
                        f"{comparison.precision}"
                    ),
                    Markup(f"`{result.name}`"),
                    *(_speedup(comparison, result, name) for name in names),
                    of_matmul,
                    _input_share(comparison, result),
                ]
            )
    columns = ["network", "loop", *(f"× {name}" for name in names), "of matmul", "input, of a step"]
    return markdown_table(Table(columns, rows, text_columns=2))


def _speedup(comparison: Comparison, result: Result, name: str) -> str:
    other = comparison.result(name)
    if other is None:
        return MISSING
    value = ratio(other.step_seconds, result.step_seconds)
    return f"{value.median:.2f} ({value.minimum:.2f}–{value.maximum:.2f})"


def _input_share(comparison: Comparison, result: Result) -> str:
    """The time to make a batch in our loop, or to wait for it in other loops, of a step."""
    step, pipeline = result.step_seconds, comparison.result("input")
    if result.name in OURS:
        return _percent(ratio(pipeline.step_seconds, step), 2) if pipeline else MISSING
    waits = [sample.wait_seconds / sample.steps for sample in result.samples]
    return _percent(ratio(waits, step), 2) if any(waits) else MISSING


def _startup_table(bench: Bench) -> str:
    rows = []
    for comparison in bench.training:
        plain = comparison.result("plain")
        for result in _training_results(comparison):
            cold, warm = result.cold_start, result.warm_start
            parts = [cold.imported, cold.prepared - cold.imported, cold.first_step - cold.prepared]
            reference = plain.cold_start.first_step if plain else 0.0
            rows.append(
                [
                    Markup(f"`{comparison.name}`"),
                    Markup(f"`{result.name}`"),
                    f"{_peak_memory(result) / _peak_memory(plain):.2f}" if plain else MISSING,
                    f"{cold.first_step / reference:.2f}" if plain else MISSING,
                    f"{warm.first_step / reference:.2f}" if plain and warm else MISSING,
                    " / ".join(f"{100 * part / cold.first_step:.0f}" for part in parts) + " %",
                    _break_even(comparison, result, lambda each: each.cold_start.first_step),
                    _break_even(
                        comparison,
                        result,
                        lambda each: (each.warm_start or each.cold_start).first_step,
                    ),
                ]
            )
    columns = [
        "network", "loop", "memory", "cold start", "warm start",
        "imports / data, network / first step", "break-even, cold", "break-even, warm",
    ]  # fmt: skip
    return markdown_table(Table(columns, rows, text_columns=2))


def _peak_memory(result: Result) -> float:
    return max(sample.peak_memory_mib for sample in result.samples)


def _break_even(comparison: Comparison, result: Result, startup: Callable[[Result], float]) -> str:
    """The number of steps after which compiling has saved as much time as it cost."""
    ours = comparison.result("ours")
    if result.name not in COMPILED or ours is None:
        return ""
    saved = median(ours.step_seconds) - median(result.step_seconds)
    return f"{(startup(result) - startup(ours)) / saved:,.0f}" if saved > 0 else "never"


def _augmentation_table(bench: Bench) -> str:
    names = _other_names(bench.augmentation)
    rows = []
    for comparison in bench.augmentation:
        ours = comparison.result("ours")
        if ours:
            speedups = [_speedup(comparison, ours, name) for name in names]
            rows.append([f"{comparison.name}, batch {comparison.batch_size}", *speedups])
    return markdown_table(Table(["operations", *(f"× {name}" for name in names)], rows))


def _percent(value: Ratio, digits: int = 0) -> str:
    middle, minimum, maximum = (f"{100 * share:.{digits}f}" for share in value)
    return f"{middle} % ({minimum}–{maximum})"
