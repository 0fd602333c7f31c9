"""Figures and tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gridai_env.summary import Interval


def aligned(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [headers, *lines]) for i in range(len(headers))]
    ruler = "  ".join("-" * width for width in widths)
    return "\n".join([_pad(headers, widths), ruler, *(_pad(line, widths) for line in lines)])


def _pad(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))])


def spread_text(interval: Interval | None, form: str, ends: bool = True) -> str:
    """A value, with ``ends`` those of its interval; "-" where it is not known."""
    if interval is None or np.isnan(interval.value):
        return "-"
    text = form.format(interval.value)
    if not ends or np.isnan(interval.low) or np.isnan(interval.high):
        return text
    return f"{text} [{form.format(interval.low)}, {form.format(interval.high)}]"
