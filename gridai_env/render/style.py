"""Colours, sizes in pixels and number formats of a frame."""

import math

WIDTH_PX, HEIGHT_PX, DPI = 1280, 720, 100

# Boxes in pixels from the lower left corner: left, bottom, width, height.
HEADER_BOX = (0, 672, 1280, 48)
MAP_BOX = (14, 212, 796, 450)
LEGEND_BOX = (14, 184, 796, 24)
PANEL_BOX = (822, 186, 446, 482)
PRICE_BOX = (60, 40, 550, 114)
CARBON_BOX = (704, 40, 550, 114)

INK, MUTED, FAINT = "#1f2d3a", "#66727f", "#d5dbe1"
PAPER, SEA, LAND = "#ffffff", "#eaf1f6", "#d9ddd3"
DARK = "#22313f"
SESSIONS, WAITING = "#3b5bdb", "#0b8f7a"  # work that may not wait, work that may
GOOD, BAD = "#2f8f4e", "#c4382b"
PRICE_COLOURS = "YlOrRd"

# One colour per site, told apart also by most colour-blind people; they repeat after ten.
SITE_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#8c6bb1",
    "#7f7f7f",
    "#b8a200",
    "#00525e",
)


def site_colour(k: int) -> str:
    """Return the colour of site ``k``."""
    return SITE_COLOURS[k % len(SITE_COLOURS)]


def compact_number(value: float, digits: int = 3) -> str:
    """Return a number in few characters: 0.04, 3.1, 42, 1.25k, 12.3M; an en dash for NaN."""
    if math.isnan(value):
        return "–"
    size = abs(value)
    for limit, unit in ((999.5e6, "G"), (999.5e3, "M"), (9999.5, "k")):
        if size >= limit:
            return _rounded(value / {"G": 1e9, "M": 1e6, "k": 1e3}[unit], digits) + unit
    return _rounded(value, digits)


def _rounded(value: float, digits: int) -> str:
    """Return ``value`` with about ``digits`` digits, no more than two after the point."""
    if round(abs(value), 2) == 0.0:
        return "0"
    before = 1 + math.floor(math.log10(abs(value))) if abs(value) >= 1.0 else 1
    return f"{value:.{min(max(digits - before, 0), 2)}f}".replace("-", "−")


def signed(value: float, digits: int = 3) -> str:
    """Return a number in few characters with its sign."""
    return ("+" if value > 0 else "") + compact_number(value, digits)


def percent(share: float) -> str:
    """Return a share as a whole number of per cent, without the sign."""
    return "–" if math.isnan(share) else f"{100.0 * share:.0f}"


def clipped(name: str, length: int) -> str:
    """Return a name of at most ``length`` characters; long ones keep their start and their end."""
    if len(name) <= length:
        return name
    tail = length // 3
    return f"{name[: length - tail - 1]}…{name[-tail:]}"
