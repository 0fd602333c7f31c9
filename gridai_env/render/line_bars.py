"""The lines of the sites: import as a bar against the limit in force, what lies above it, calls and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gridai_env.render import style
from gridai_env.render.line_numbers import LineNumbers
from gridai_env.render.moment import Moment

HEAD, ROW = 15.0, 23.0  # pixels from the top to the first line, from line to line
BAR, BAR_PX = 104.0, 92.0  # left end and length of a bar
AMOUNT, CALL = 206.0, 310.0  # left ends of the texts
LEAST_MW = 5e-4  # less is rounding
KINDS = {"matching": "contracted clean power"}  # what is said of lines that nobody calls
WARNING = "#b35900"  # of a call ahead


def rows_in(room: float) -> int:
    """Return how many lines fit in so many pixels."""
    return max(int((room - HEAD) // ROW), 0)


def draw_lines(axes: Any, view: Moment, lines: Sequence[LineNumbers], top: float) -> None:
    """Draw some lines, one below the other."""
    text = {"va": "center_baseline", "color": style.MUTED, "fontsize": 6.8}
    left_out = len(view.lines) - len(lines)
    more = f" ({left_out} more not shown)" if left_out else ""
    axes.text(0, top - 8, f"lines: import against its limit{more}", **text)
    for i, line in enumerate(lines):
        _draw_line(axes, view, line, top - HEAD - ROW * i - 7.0)


def _draw_line(axes: Any, view: Moment, line: LineNumbers, y: float) -> None:
    k, number = line.rule.site, style.compact_number
    upper = {"va": "center_baseline", "fontsize": 6.8, "color": style.INK}
    lower = upper | {"fontsize": 6.0, "color": style.MUTED}
    axes.plot([5], [y], marker="o", markersize=5, color=style.site_colour(k))
    axes.text(13, y, style.clipped(view.compiled.site_names[k], 14), **(upper | {"fontweight": "bold"}))
    axes.text(13, y - 10, style.clipped(line.rule.spec.name, 17), **lower)

    _draw_bar(axes, line, float(view.compiled.import_limit_mw[k]), y - 5.0)
    axes.text(AMOUNT, y, f"{number(line.import_mw)} of {number(line.limit_mw)} MW", **upper)
    if line.excess_mw > LEAST_MW:
        what = "not matched" if line.rule.kind == "matching" else "above"
        axes.text(AMOUNT, y - 10, f"{number(line.excess_mw)} MW {what}", **(lower | {"color": style.BAD}))

    words, colour = (
        call_words(line)
        if line.may_be_called
        else (KINDS.get(line.rule.kind, line.rule.kind.replace("_", " ")), style.MUTED)
    )
    axes.text(CALL, y, words, **(upper | {"color": colour}))
    if line.committed_mw:
        promise = f"baseline {number(line.baseline_mw)} less {number(line.committed_mw)} MW"
        axes.text(CALL, y - 10, promise, **lower)


def call_words(line: LineNumbers) -> tuple[str, str]:
    """Return whether a line is called, and until or from when, with a colour."""
    hours = f"{line.hours:.3g}"
    if line.is_called:
        return (f"called, {hours} h to go" if line.hours else "called, ends now"), style.BAD
    if line.hours >= 0.0:
        return (f"call in {hours} h" if line.hours else "call begins now"), WARNING
    return "not called", style.MUTED


def _draw_bar(axes: Any, line: LineNumbers, most_mw: float, y: float) -> None:
    """Draw import up to the most that the site may import, red above the limit, a tick at it, one at the baseline."""

    def at(mw: float) -> float:
        return BAR + BAR_PX * min(max(mw / most_mw, 0.0), 1.0)

    look = {"linewidth": 6, "solid_capstyle": "butt"}
    axes.plot([BAR, BAR + BAR_PX], [y, y], color=style.FAINT, **look)
    if line.import_mw >= 0.0:
        axes.plot([BAR, at(line.import_mw)], [y, y], color=style.site_colour(line.rule.site), **look)
        if line.excess_mw > LEAST_MW:
            axes.plot([at(line.limit_mw), at(line.import_mw)], [y, y], color=style.BAD, **look)
    for mw, width in ((line.limit_mw, 1.8), (line.baseline_mw, 0.8)):
        axes.plot([at(mw), at(mw)], [y - 7.0, y + 7.0], color=style.INK, linewidth=width)
