"""The ledger so far as bars."""

from typing import Any

from gridai_env.render import style
from gridai_env.render.moment import Moment

NAME_PX, NUMBER_PX = 92.0, 44.0  # room for texts
TOP_ROW, ROW = 27.0, 14.0  # pixels from the top to the first bar, from bar to bar


def draw_ledger(axes: Any, view: Moment, top: float, width: float) -> None:
    """Draw the largest terms so far as bars: earnings to the right, costs to the left."""
    text = {"va": "center_baseline", "color": style.INK, "fontsize": 6.8}
    axes.text(0, top - 8, "earnings and costs so far, USD", **(text | {"color": style.MUTED}))
    bars = largest_terms(view.terms_usd(), int((top - TOP_ROW + 5.0) // ROW))
    if not bars:
        return

    # Zero stands right of the middle: costs have more terms than earnings, and longer names beside them.
    most = max(abs(usd) for _, usd in bars)
    zero = 0.6 * width
    reach = min(zero - NAME_PX, width - zero) - NUMBER_PX

    for i, (name, usd) in enumerate(bars):
        y = top - TOP_ROW - ROW * i
        end = zero + reach * usd / most
        colour, side, gap = (style.GOOD, "left", 5) if usd > 0 else (style.BAD, "right", -5)
        axes.plot([zero, end], [y, y], linewidth=6, solid_capstyle="butt", color=colour)
        axes.text(0, y, name.replace("_", " "), **text)
        axes.text(end + gap, y, style.signed(usd), ha=side, **text)
    axes.plot([zero, zero], [top - 20, top - 34 - ROW * (len(bars) - 1)], color=style.INK, linewidth=0.8)


def largest_terms(terms_usd: dict[str, float], room: int) -> list[tuple[str, float]]:
    """Return at most ``room`` terms, the largest first, the last being the sum of the rest where it must."""
    terms = sorted(terms_usd.items(), key=lambda item: -abs(item[1]))
    if len(terms) <= room:
        return terms
    rest = terms[room - 1 :]
    return [*terms[: room - 1], (f"{len(rest)} smaller terms", sum(usd for _, usd in rest))]
