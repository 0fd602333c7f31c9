"""Customer baselines: what a site would have imported in an event, estimated from its past days.

Mean of the last N
    affine in past imports; the one that the optimum can price (ISO-NE, Taipower; N = 10, 20).
Highest 4 of 5, 10-in-10 with the same-day adjustment
    PJM's default and CAISO's: a maximum and a capped ratio, not affine.  For settlement statements only.
Firm service level
    a constant; no import of the past changes it.

MW are net import (import - export).  Shapes: D eligible days, oldest first; S steps of a day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints

CAP = 0.20  # of the same-day adjustment, up and down


@dataclass(frozen=True)
class BaselineMethod:
    """A rule of a programme, and whether the optimum has it in its program."""

    name: str
    is_optimised: bool


MEAN = BaselineMethod("mean of the last days", True)
HIGHEST_4_OF_5 = BaselineMethod("highest 4 of 5, same-day adjustment", False)
TEN_IN_TEN = BaselineMethod("10-in-10, same-day adjustment", False)
FIRM_SERVICE_LEVEL = BaselineMethod("firm service level", True)


def eligible_days(
    day: int, is_weekend: Bool[Bools, " D"], excluded: Bool[Bools, " D"], count: int
) -> Int[Ints, " count"]:
    """Return the last ``count`` days before ``day`` of its kind (weekday or weekend), oldest first.

    ``excluded`` days do not count: those with an event, holidays, days of very low import.  Raises ValueError where
    there are fewer.
    """
    past = np.arange(len(is_weekend)) < day
    found = np.flatnonzero(past & ~excluded & (is_weekend == is_weekend[day]))
    if len(found) < count:
        kind = "weekend" if is_weekend[day] else "week"
        raise ValueError(
            f"a baseline of {count} {kind} days before day {day}: only {len(found)} are eligible"
        )
    return found[len(found) - count :]


def mean_of_last(days_mw: Float[Floats, "D S"], count: int) -> Float[Floats, " S"]:
    """Return the mean of the same step over the last ``count`` days [MW]; ValueError for fewer days."""
    return np.asarray(_last(days_mw, count).mean(axis=0))


def highest_of_last(
    days_mw: Float[Floats, "D S"], in_event: Bool[Bools, " S"], highest: int = 4, last: int = 5
) -> Float[Floats, " S"]:
    """Return the mean of the ``highest`` of the ``last`` days [MW], ranked by their import in the steps of the event.

    PJM, weekdays; ``highest=2, last=3`` is its rule for weekends.  Of equal days the later ones count.  Raises
    ValueError for fewer days.
    """
    days = _last(days_mw, last)
    order = np.argsort(days[:, in_event].mean(axis=1), kind="stable")
    return np.asarray(days[order[last - highest :]].mean(axis=0))


def ten_in_ten(
    days_mw: Float[Floats, "D S"],
    today_mw: Float[Floats, " S"],
    window: Bool[Bools, " S"],
    cap: float = CAP,
) -> Float[Floats, " S"]:
    """Return the mean of the last 10 days times what ``today_mw`` was of it in ``window`` [MW].

    The factor is kept within 1 +- ``cap`` (CAISO).  Raises ValueError for fewer days, and where the mean in the
    window is not above 0.
    """
    mean = mean_of_last(days_mw, 10)
    before = mean[window].mean()
    if not before > 0.0:
        raise ValueError(
            f"same-day adjustment: the mean of ten days before the event is {before:g} MW, not above 0"
        )
    return np.asarray(mean * np.clip(today_mw[window].mean() / before, 1.0 - cap, 1.0 + cap))


def shifted_to_day(
    baseline_mw: Float[Floats, " S"], today_mw: Float[Floats, " S"], window: Bool[Bools, " S"]
) -> Float[Floats, " S"]:
    """Return a baseline [MW] plus what ``today_mw`` lies above it in ``window`` (PJM, ISO-NE: additive)."""
    return np.asarray(baseline_mw + (today_mw[window] - baseline_mw[window]).mean())


def adjustment_window(
    first_step: int, steps: int, dt_h: float, hours: float = 3.0, gap_h: float = 1.0
) -> Bool[Bools, " S"]:
    """Return which of a day's ``steps`` are the ``hours`` that end ``gap_h`` before the event's first step.

    Raises ValueError where they begin before the day.
    """
    end, length = first_step - round(gap_h / dt_h), round(hours / dt_h)
    if end < length:
        raise ValueError(
            f"same-day adjustment: the event begins {first_step * dt_h:g} h after midnight, needs {hours + gap_h:g}"
        )
    at = np.arange(steps)
    return (at >= end - length) & (at < end)


def baseline_inflation_mw(baseline_mw: Float[Floats, " E"], without_calls_mw: Float[Floats, " E"]) -> float:
    """Return by how much a policy's baseline lies above that of the same policy without calls [MW]: gaming."""
    return float((baseline_mw - without_calls_mw).mean())


def _last(days_mw: Floats, count: int) -> Floats:
    if not 1 <= count <= len(days_mw):
        raise ValueError(f"a baseline of {count} days: the history has {len(days_mw)}")
    return days_mw[len(days_mw) - count :]
