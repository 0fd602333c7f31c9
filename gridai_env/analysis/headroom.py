"""How much new load a system could carry if that load were cut for a small share of its energy.

The limit is the highest hour of the year, P.  A constant new load of L MW on top of the system's y is cut by
``max(0, y + L - P)`` in every hour.  Its *headroom* at a share r is the L whose cut energy is r of what it would
draw in the year: ``sum_h max(0, y_h + L - P) = r L H`` (Norris et al., Rethinking Load Growth, Duke University
2025; there with demand, several years and limits by season).

Shapes: H hours without gaps.  Powers are in MW; months are 1 to 12 and hours 0 to 23 on one local clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from gridai_env.arrays.runs import runs_of_true
from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints

SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05)
LEVELS = (0.80, 0.85, 0.90, 0.95)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SEASON = (5, 10)  # first and last month of the warm half-year
FAR_OFF = 0.25  # of the median of its neighbours: an hour that strays farther was not metered well
# Load that is cut by less than this share of the limit is not cut: rounding.
LEAST_CUT = 1e-9


class HeadroomRow(TypedDict):
    """What a new load of the size of the headroom would see in a year."""

    curtailed_share: float
    headroom_mw: float
    cut_h: int
    events: int
    mean_event_h: float  # NaN without an event, as all below
    longest_event_h: float
    at_most_half_share: float  # of the hours with a cut: at most half of the new load is cut
    may_october_share: float  # of the hours with a cut


class PeakRow(TypedDict):
    """The hours above a level of the limit."""

    level: float
    above_h: int
    events: int
    mean_event_h: float
    longest_event_h: float
    months: str  # "Jul 45, Aug 7"
    local_hour_p10: float
    local_hour_p50: float
    local_hour_p90: float


@dataclass(frozen=True)
class LocalHours:
    """Month 1 to 12 and hour 0 to 23 of each hour's start."""

    month: Int[Ints, " H"]
    hour: Int[Ints, " H"]

    @classmethod
    def of(cls, start_minutes: Int[Ints, " H"], utc_offset_h: float) -> LocalHours:
        """Return those of hours by their starts, minutes since 1970 UTC, on a clock that is never changed."""
        local = (start_minutes + round(60 * utc_offset_h)).astype("datetime64[m]")
        month = local.astype("datetime64[M]").astype(np.int64) % 12 + 1
        return cls(month, local.astype("datetime64[h]").astype(np.int64) % 24)


# Gaps ---------------------------------------------------------------------------------------------------------


def odd_hours(load_mw: Float[Floats, " H"]) -> Bool[Bools, " H"]:
    """Return hours that are missing (NaN), or off by more than 25 % from the median of the two on each side."""
    padded = np.pad(load_mw, 2, constant_values=np.nan)
    around = np.stack([padded[i : i + len(load_mw)] for i in (0, 1, 3, 4)])

    # Of an hour whose neighbours are all missing nothing can be said.
    known = ~np.isnan(around).all(0)
    median = np.full(len(load_mw), np.nan)
    median[known] = np.nanmedian(around[:, known], axis=0)
    return np.isnan(load_mw) | (np.abs(load_mw - median) > FAR_OFF * np.abs(median))


def interpolated(load_mw: Float[Floats, " H"], odd: Bool[Bools, " H"]) -> Float[Floats, " H"]:
    """Return the series with odd hours on a line between the next good ones; the ends are held."""
    hours = np.arange(len(load_mw))
    return np.where(odd, np.interp(hours, hours[~odd], load_mw[~odd]), load_mw)


# Headroom -----------------------------------------------------------------------------------------------------


def headroom_mw(load_mw: Float[Floats, " H"], share: float) -> float:
    """Return the constant new load [MW] of which ``share`` (0 to 1, both excluded) of the energy is cut in H hours.

    Exact: the cut energy is piecewise linear in L, with a kink where L reaches the room of one more hour.  0 where
    the hours at the limit alone are more than ``share`` of all.  Raises ValueError for a share out of range.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share = {share!r}: must lie between 0 and 1")
    room = np.sort(load_mw.max() - load_mw)
    used = np.cumsum(room)  # by the k + 1 hours of least room
    count = np.arange(1, len(room) + 1) - share * len(room)

    # With the k + 1 hours of least room cut the balance is (k + 1 - r H) L = used: right where L stays within the
    # room of the next hour.
    following = np.append(room[1:], np.inf)
    k = int(np.argmax((count > 0.0) & (count * following >= used)))
    return float(used[k] / count[k])


def headroom_row(load_mw: Float[Floats, " H"], share: float, local: LocalHours) -> HeadroomRow:
    """Return headroom, hours, events and when they are, at a share of curtailed energy."""
    level = headroom_mw(load_mw, share)
    limit = load_mw.max()
    cut_mw = load_mw + level - limit
    cut = cut_mw > LEAST_CUT * limit
    lengths = np.diff(runs_of_true(cut))
    first, last = SEASON

    return {
        "curtailed_share": share,
        "headroom_mw": level,
        "cut_h": int(cut.sum()),
        "events": len(lengths),
        "mean_event_h": _mean(lengths),
        "longest_event_h": float(lengths.max(initial=0)) if len(lengths) else np.nan,
        "at_most_half_share": _mean(cut_mw[cut] <= level / 2.0),
        "may_october_share": _mean((local.month[cut] >= first) & (local.month[cut] <= last)),
    }


def peak_row(load_mw: Float[Floats, " H"], level: float, local: LocalHours) -> PeakRow:
    """Return how often and when the load lies above ``level`` times its maximum."""
    above = load_mw > level * load_mw.max()
    lengths = np.diff(runs_of_true(above))
    months = np.bincount(local.month[above], minlength=13)
    hours = np.percentile(local.hour[above], (10, 50, 90), method="nearest")  # that occur, not means of two
    return {
        "level": level,
        "above_h": int(above.sum()),
        "events": len(lengths),
        "mean_event_h": _mean(lengths),
        "longest_event_h": float(lengths.max()),
        "months": ", ".join(f"{MONTHS[i]} {months[i + 1]}" for i in range(12) if months[i + 1]),
        "local_hour_p10": float(hours[0]),
        "local_hour_p50": float(hours[1]),
        "local_hour_p90": float(hours[2]),
    }


def _mean(values: Sequence[float] | Floats | Bools | Ints) -> float:
    return float(np.mean(values)) if len(values) else np.nan
