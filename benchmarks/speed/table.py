"""A benchmark as tables of ratios, in Markdown; seconds are left to the record."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from speed.figures import Bench, Race, Racer, Ratio, ratio

NONE = "–"
COMPILED = ("compiled", "graphs")
OURS = ("ours", *COMPILED, "bfloat16")
BESIDE = ("input", "product")
"""Who takes no training steps."""

SPEED = """\
Speed: how many times as fast as the loops of others; how fast its arithmetic is beside a large
matrix product's; the share of a step that making its batch takes, or waiting for it."""
STARTS = """\
Memory and start: the peak of memory over the plain loop's; the time from the command to the end of
the first step over that of the plain loop's cold start, in a new process with nothing compiled
(cold) and in one after it (warm); what part of the cold start goes where; after how many steps
compiling has paid for itself."""
AUGMENTATION = """\
Augmentation alone, of the same images: how many times as fast as others."""


def tables(bench: Bench) -> str:
    """All tables; seconds are left to the record."""
    parts = [
        f"{_machine(bench)}\n\n{_who(bench.races)}",
        f"{SPEED}\n\n{_speed(bench)}",
        f"{STARTS}\n\n{_starts(bench)}",
    ]
    if bench.augmentations:
        who = _who(bench.augmentations)
        parts.append(f"{AUGMENTATION}\n\n{who}\n\n{_augmentation(bench)}")
    parts += [f"Left out: {skipped}." for skipped in bench.skipped]
    return "\n\n".join(parts)


def _machine(bench: Bench) -> str:
    where = bench.environment
    rounds = len(bench.races[0].racers[0].laps) if bench.races else 0
    device = where["device"]
    processor = f"{where['processor']}, {where['threads']} threads"
    return (
        f"{processor if device.startswith('cpu') else device}, torch {where['packages']['torch']}, "
        f"{where['started'][:10]}, images of {bench.data}. Medians of {rounds} rounds in turns, "
        "the least and the most in brackets."
    )


def _who(races: Iterable[Race]) -> str:
    said = {racer.name: racer.does for race in races for racer in race.racers}
    return "\n".join(f"- `{name}`: {does}" for name, does in said.items())


def _trainers(race: Race) -> list[Racer]:
    return [racer for racer in race.racers if racer.name not in BESIDE]


def _others(races: Iterable[Race]) -> list[str]:
    """Names of those who train or augment, besides us, each once."""
    names = [racer.name for race in races for racer in race.racers]
    return [name for name in dict.fromkeys(names) if name not in OURS + BESIDE]


def _speed(bench: Bench) -> str:
    rows, others = [], _others(bench.races)
    for race in bench.races:
        product = race.racer("product")
        for racer in _trainers(race):
            beside = NONE
            if product:
                rates = [bench.product_flops / seconds for seconds in product.steps_seconds]
                own = [race.flops / seconds for seconds in racer.steps_seconds]
                beside = _share(ratio(own, rates))
            rows.append(
                [
                    f"`{race.name}`, batch {race.batch_size}, {race.precision}",
                    f"`{racer.name}`",
                    *(_against(race, racer, name) for name in others),
                    beside,
                    _input(race, racer),
                ]
            )
    times = [f"× {name}" for name in others]
    header = ["network", "loop", *times, "of the product", "input, of a step"]
    return _markdown(header, rows)


def _against(race: Race, racer: Racer, name: str) -> str:
    other = race.racer(name)
    if other is None:
        return NONE
    return _times(ratio(other.steps_seconds, racer.steps_seconds))


def _input(race: Race, racer: Racer) -> str:
    """Waiting for the batch, in a loop that waits; making it, in ours."""
    own, pipeline = racer.steps_seconds, race.racer("input")
    if racer.name in OURS:
        return _share(ratio(pipeline.steps_seconds, own), 2) if pipeline else NONE
    waited = [lap.waited / lap.steps for lap in racer.laps]
    return _share(ratio(waited, own), 2) if any(waited) else NONE


def _starts(bench: Bench) -> str:
    rows = []
    for race in bench.races:
        plain = race.racer("plain")
        for racer in _trainers(race):
            cold, warm = racer.cold, racer.warm
            parts = [cold.imported, cold.prepared - cold.imported, cold.first - cold.prepared]
            rows.append(
                [
                    f"`{race.name}`",
                    f"`{racer.name}`",
                    f"{_peak(racer) / _peak(plain):.2f}" if plain else NONE,
                    f"{cold.first / plain.cold.first:.2f}" if plain else NONE,
                    f"{warm.first / plain.cold.first:.2f}" if plain and warm else NONE,
                    " / ".join(f"{100 * part / cold.first:.0f}" for part in parts) + " %",
                    _pays(race, racer, lambda racer: racer.cold.first),
                    _pays(race, racer, lambda racer: (racer.warm or racer.cold).first),
                ]
            )
    header = [
        "network", "loop", "memory", "start, cold", "start, warm",
        "imports / data, network / first step", "pays after steps, cold", "warm",
    ]  # fmt: skip
    return _markdown(header, rows)


def _peak(racer: Racer) -> float:
    return max(lap.memory_mib for lap in racer.laps)


def _pays(race: Race, racer: Racer, start: Callable[[Racer], float]) -> str:
    """After how many steps compiling has won back what it costs at the start."""
    ours = race.racer("ours")
    if racer.name not in COMPILED or ours is None:
        return ""
    won = median(ours.steps_seconds) - median(racer.steps_seconds)
    return f"{(start(racer) - start(ours)) / won:,.0f}" if won > 0 else "never"


def _augmentation(bench: Bench) -> str:
    names = _others(bench.augmentations)
    rows = []
    for race in bench.augmentations:
        ours = race.racer("ours")
        if ours:
            row = [_against(race, ours, name) for name in names]
            rows.append([f"{race.name}, batch {race.batch_size}", *row])
    return _markdown(["operations", *(f"× {name}" for name in names)], rows)


def _times(value: Ratio) -> str:
    return f"{value.median:.2f} ({value.least:.2f}–{value.most:.2f})"


def _share(value: Ratio, digits: int = 0) -> str:
    middle, least, most = (f"{100 * share:.{digits}f}" for share in value)
    return f"{middle} % ({least}–{most})"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
