"""The noise-free daily and weekly shape of demand, for generators and for sizing."""

from __future__ import annotations

import numpy as np

from gridai_env.state import Array


def daily_profile(local_hour: Array, peak_hour: Array, swing: Array, flatness: Array) -> Array:
    """Return demand relative to its daily mean (mean 1) at a local hour of the day.

    A cosine with its top at ``peak_hour`` and an amplitude of ``(1 - flatness) * swing``.
    """
    return 1.0 + (1.0 - flatness) * swing * np.cos(2.0 * np.pi * (local_hour - peak_hour) / 24.0)


def weekly_factor(weekend: Array, weekend_factor: Array) -> Array:
    """Return 1 on working days, ``weekend_factor`` where ``weekend`` (Saturday, Sunday in local time)."""
    return np.where(weekend, weekend_factor, 1.0)
