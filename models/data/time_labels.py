"""Times as tables write them: numbers, or numbers with one unit (24h, day 3, E8.5, P7)."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...priors.shortened import shortened

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
BEFORE = re.compile(rf"^([A-Za-z]+)(?:\s+|[_:.\-]\s*)?({NUMBER})$")
AFTER = re.compile(rf"^({NUMBER})[\s_\-]*([A-Za-zµ]+)\.?$")
MISSING = frozenset(["", "na", "nan", "none", "null", "n/a", "<na>", "nat"])
# seconds of a unit that needs no more explanation
UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), ("seconds", 1.0)),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), ("minutes", 60.0)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "hpf", "hpi"), ("hours", 3600.0)),
    **dict.fromkeys(("d", "day", "days", "dpf", "dpi"), ("days", 86400.0)),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), ("weeks", 604800.0)),
}
MINUTES_OR_MONTHS = "'m' (minutes or months, the labels do not say which)"
SPECIAL = {"e": "embryonic days", "p": "postnatal days", "t": "time", "time": "time", "m": MINUTES_OR_MONTHS}


class Times(NamedTuple):
    """``(cell,)`` float64, NaN where a cell has none, and what there is to say of how they were read."""

    values: np.ndarray
    notes: tuple[str, ...]


def read_times(labels: Sequence[object]) -> Times:
    """Times from numbers or text.

    Raises
    ------
    ValueError
        A label that is no time, an infinite one, or several kinds of labels of which one cannot be turned into the
        other (E8.5 and P7, 3 and 24h); the message names them.
    """
    plain = {label: _number(label) for label in dict.fromkeys(map(_text, labels))}
    infinite = [label for label, number in plain.items() if number is not None and math.isinf(number)]
    if infinite:
        count = sum(_text(label) in infinite for label in labels)
        raise ValueError(f"{count} cells have the time {infinite[0]!r}: give them a finite one, or drop them")
    if all(number is not None for number in plain.values()):
        return Times(np.array([plain[_text(label)] for label in labels], dtype=np.float64), ())
    parts = {label: _parts(label, number) for label, number in plain.items()}
    units = {unit for unit, number in parts.values() if unit and not math.isnan(number)}
    bare = [label for label, (unit, number) in parts.items() if not unit and not math.isnan(number) and number != 0]
    example = next(label for label, (unit, _) in parts.items() if unit)
    if bare:
        raise ValueError(f"times are of two kinds, {bare[0]!r} without a unit and {example!r}: give all in one unit")
    if len(units) == 1:
        unit = units.pop()
        name = UNITS[unit][0] if unit in UNITS else SPECIAL.get(unit, unit)
        factors = {unit: 1.0}
    else:
        odd = sorted(unit for unit in units if unit not in UNITS)
        if odd:
            pair = [next(label for label, (u, _) in parts.items() if u == unit) for unit in sorted(units)[:2]]
            raise ValueError(f"times are of two kinds, {pair[0]!r} and {pair[1]!r}: give all as numbers in one unit")
        smallest = min(units, key=lambda unit: UNITS[unit][1])
        name = UNITS[smallest][0]
        factors = {unit: UNITS[unit][1] / UNITS[smallest][1] for unit in units}
    read = {label: number * factors.get(unit, 1.0) for label, (unit, number) in parts.items()}
    note = f"times are read in {name}, {shortened(example)!r} as {read[example]:g}"
    return Times(np.array([read[_text(label)] for label in labels], dtype=np.float64), (note,))


def _text(label: object) -> str:
    return str(label).strip()


def _number(label: str) -> float | None:
    if label.lower() in MISSING:
        return math.nan
    try:
        return float(label)
    except ValueError:
        return None


def _parts(label: str, number: float | None) -> tuple[str, float]:
    """Unit (none: "") and number of a label."""
    if number is not None:
        return "", number
    before, after = BEFORE.match(label), AFTER.match(label)
    if after:
        unit, value = after.group(2), after.group(1)
    elif before:
        unit, value = before.group(1), before.group(2)
    else:
        raise ValueError(
            f"{shortened(label)!r} is no time: expected numbers, or numbers with one unit such as 24h, day 3, E8.5"
        )
    unit = unit.lower()
    same = next((known for known, meaning in UNITS.items() if meaning == UNITS.get(unit)), unit)
    return same, float(value)
