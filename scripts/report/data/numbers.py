"""Numbers as a reader wants them: few digits, thousands separated, intervals in brackets, an en dash for NaN."""

from __future__ import annotations

import math
from itertools import groupby

from gridai_env.analysis.statistics import Interval
from gridai_env.arrays.types import Floats

NOTHING = "–"
MOST_PARTS = 12  # of a list in a text
NOISE = 1e-12  # relative: what rounding leaves of 0


def number(value: float, digits: int = 3) -> str:
    """Return a number with at least so many significant digits; whole above them: 0.0123, 4.56, 12,345."""
    if not math.isfinite(value):
        return NOTHING
    if value == 0.0 or abs(value) < 1e-12:
        return "0"
    before = math.floor(math.log10(abs(value))) + 1
    text = f"{value:,.{min(max(digits - before, 0), 6)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return ("0" if text in ("-0", "0") else text).replace("-", "−")


def percent(share: float, digits: int = 1) -> str:
    """Return a share as per cent."""
    return NOTHING if not math.isfinite(share) else f"{100.0 * share:.{digits}f} %".replace("-", "−")


def small_percent(share: float) -> str:
    """Return a small share as per cent: "< 0.01 %" where it is less, 0 where it is noise of the last digits."""
    if abs(share) < NOISE or not math.isfinite(share):
        return percent(abs(share), 0)
    return f"{number(100.0 * share, 2)} %" if abs(share) >= 1e-4 else "< 0.01 %"


def plural(count: int, word: str) -> str:
    """Return a number of things: 1 episode, 2 episodes."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def with_interval(interval: Interval) -> str:
    """Return a value with its interval in brackets, where there is one."""
    ends = f" [{number(interval.low)}, {number(interval.high)}]"
    return number(interval.value) + (ends if math.isfinite(interval.low + interval.high) else "")


def with_intervals(values: Floats, low: Floats, high: Floats) -> list[str]:
    """Return values with their intervals, one by one; NaN ends where there is none."""
    return [with_interval(Interval(*map(float, ends))) for ends in zip(values, low, high, strict=True)]


def seed_text(seeds: list[int]) -> str:
    """Return seeds in few characters: 0-9, 12."""
    runs = [[seed for _, seed in run] for _, run in groupby(enumerate(seeds), lambda item: item[1] - item[0])]
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    shown, rest = ", ".join(parts[:MOST_PARTS]), len(parts) - MOST_PARTS
    return f"{shown} and {rest} more" if rest > 0 else shown or "none"
