"""Power modes of accelerators: less power at a lower speed, from measured curves to the limits of what they save.

A curve is a list of points (speed, kW) up to speed 1, the share of the host included; the point (0, idle kW) is always
there, since accelerators may idle.  What counts is the lower convex hull: a mode above it is worse than a mix of idle
and faster accelerators.  Accelerators of several curves together have the curve whose segments are those of all, each
as long as its share, in the order of their slopes (the Minkowski mean).

Curves by name: measured power of the accelerator plus a host share that does not scale (H100: 0.45 kW).  Sources:
caps of A100 class from the published sweep of a demonstration with 256 accelerators (Phoenix, May 2025); decode on H100
and H200 from arXiv 2605.11999; B200 Max-Q from its maker; training on H100 assumed as power = 0.25 + 0.75 s^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from gridai_env.arrays.types import Float, Floats

CurveName = Literal[
    "A100 training", "A100 fine-tuning", "A100 inference", "H100 training", "H100 decode", "H200 decode",
    "B200 Max-Q",
]  # fmt: skip

# Name: kW when idle, then points (kW, speed).
CURVES: dict[CurveName, tuple[float, tuple[tuple[float, float], ...]]] = {
    "A100 training": (0.170, ((0.691, 0.867), (0.782, 1.0))),
    "A100 fine-tuning": (0.170, ((0.642, 0.891), (0.687, 0.944), (0.745, 1.0))),
    "A100 inference": (0.170, ((0.642, 0.871), (0.689, 0.931), (0.733, 0.976), (0.768, 1.0))),
    "H100 training": (0.250, ((0.961, 0.80), (1.050, 0.90), (1.150, 1.0))),
    "H100 decode": (0.250, ((0.711, 0.97), (0.756, 0.98), (0.900, 1.0))),
    "H200 decode": (0.250, ((0.684, 0.98), (0.780, 1.0))),
    "B200 Max-Q": (0.400, ((1.575, 0.97), (1.750, 1.0))),
}

# Speeds and powers that differ by less are equal.
SAME = 1e-9

Hull = Float[Floats, "points 2"]  # speed and kW, rising from (0, idle)


def lower_hull(points: Float[Floats, "n 2"]) -> Hull:
    """Return the points (speed, kW) below which none lies, from the first speed to the last."""
    kept: list[np.ndarray] = []
    for point in points[np.lexsort((points[:, 1], points[:, 0]))]:
        while len(kept) > 1 and _turns_down(kept[-2], kept[-1], point):
            kept.pop()
        if kept and abs(kept[-1][0] - point[0]) <= SAME:
            continue
        kept.append(point)
    return np.array(kept)


def above_hull(points: Float[Floats, "n 2"]) -> Float[Floats, "m 3"]:
    """Return the points that lie above the hull of all and so count for nothing: speed, kW, kW of the hull."""
    hull = lower_hull(points)
    hull_kw = np.interp(points[:, 0], hull[:, 0], hull[:, 1])
    return np.column_stack([points, hull_kw])[points[:, 1] > hull_kw + SAME]


def _turns_down(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> bool:
    """Return whether b lies on or above the line from a to c."""
    return bool((b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0]) - SAME)


def mean_hull(hulls: Sequence[Hull], shares: Sequence[float]) -> Hull:
    """Return the curve of accelerators of which a share has each of the curves; the shares sum to 1."""
    steps = np.concatenate([np.diff(hull, axis=0) * share for hull, share in zip(hulls, shares, strict=True)])
    steps = steps[np.argsort(steps[:, 1] / steps[:, 0], kind="stable")]
    first = sum(share * hull[0] for hull, share in zip(hulls, shares, strict=True))
    return lower_hull(np.concatenate([[first], first + np.cumsum(steps, axis=0)]))


def saving_limits_kw(hull: Hull) -> tuple[Float[Floats, " M"], Float[Floats, " M"]]:
    """Return of each segment what it lets power modes save, per accelerator and per busy one, see `physics`.

    At full speed power rises evenly from idle to the last point; a segment of slope m and intercept a limits the saving
    to ``G * (idle - a) + b * (busy - idle - m)``.
    """
    (_, idle_kw), (_, busy_kw) = hull[0], hull[-1]
    slope = np.diff(hull[:, 1]) / np.diff(hull[:, 0])
    intercept = hull[:-1, 1] - slope * hull[:-1, 0]
    return idle_kw - intercept, busy_kw - idle_kw - slope
