"""Tables and numbers as text."""

import math
from collections.abc import Sequence

import numpy as np

from gridai_env.analysis.statistics import Interval


def aligned(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [headers, *lines]) for i in range(len(headers))]
    ruler = "  ".join("-" * width for width in widths)
    return "\n".join([_pad(headers, widths), ruler, *(_pad(line, widths) for line in lines)])


def _pad(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))])


def known(value: float, form: str) -> str:
    """Return a number as text, "-" where it is not known (NaN)."""
    return "-" if math.isnan(value) else form.format(value)


def spread_text(interval: Interval | None, form: str, ends: bool = True) -> str:
    """Return a value, with ``ends`` those of its interval; "-" where it is not known."""
    if interval is None or np.isnan(interval.value):
        return "-"
    text = form.format(interval.value)
    if not ends or np.isnan(interval.low) or np.isnan(interval.high):
        return text
    return f"{text} [{form.format(interval.low)}, {form.format(interval.high)}]"
