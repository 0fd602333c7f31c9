"""Curved arrows of work from its region to the site that serves it, as polygons in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats

BENDS = (0.16, 0.30)  # of the distance: rows that may not wait, rows that may
LEAST_PX, MOST_PX = 1.0, 16.0  # widths
LEAST_DISTANCE_PX = 12.0  # nearer pairs are one place on the map
HIDDEN_SHARE = 0.01  # of the width scale: smaller flows are not drawn
POINTS = 26


@dataclass(frozen=True)
class Arrow:
    """One flow on the map."""

    kind: int  # 0: rows that may not wait, 1: rows that may
    gpuh: float
    width_px: float
    line: Float[Floats, "points 2"]  # from region to site


def build_arrows(
    sent_gpuh: Float[Floats, "2 C K"],
    regions: Float[Floats, "C 2"],
    sites: Float[Floats, "K 2"],
    radius_px: Float[Floats, " K"],
    full_gpuh: float,
) -> list[Arrow]:
    """Return the arrows of the flows, the smallest first.

    ``regions`` and ``sites`` are in pixels; ``full_gpuh`` is the flow with the widest arrow.  What a region has
    served at its own place has no arrow.
    """
    arrows = []
    for kind, c, k in product(*map(range, sent_gpuh.shape)):
        gpuh = float(sent_gpuh[kind, c, k])
        if gpuh <= HIDDEN_SHARE * full_gpuh or np.hypot(*(sites[k] - regions[c])) < LEAST_DISTANCE_PX:
            continue
        width = float(np.clip(MOST_PX * gpuh / full_gpuh, LEAST_PX, MOST_PX))
        line = _curve(regions[c], sites[k], BENDS[kind], radius_px[k] + 2.0)
        arrows.append(Arrow(kind, gpuh, width, line))
    return sorted(arrows, key=lambda arrow: arrow.gpuh)


def possible_paths(
    regions: Float[Floats, "C 2"], sites: Float[Floats, "K 2"], open_routes: Bool[Bools, "C K"]
) -> Float[Floats, "n 2"]:
    """Return points on all arrows that could be drawn, in pixels."""
    far = np.hypot(*(sites[None] - regions[:, None]).transpose(2, 0, 1)) >= LEAST_DISTANCE_PX
    lines = [
        _curve(regions[c], sites[k], bend, 0.0) for c, k in np.argwhere(far & open_routes) for bend in BENDS
    ]
    return np.concatenate([np.empty((0, 2)), *lines])


def _curve(
    start: Float[Floats, " 2"], end: Float[Floats, " 2"], bend: float, gap_px: float
) -> Float[Floats, "points 2"]:
    """Return a parabola from start to ``gap_px`` before the end, bent left by a share of its length."""
    along = end - start
    control = (start + end) / 2.0 + bend * np.array([-along[1], along[0]])
    arrival = end - control
    end = end - arrival / np.hypot(*arrival) * min(gap_px, 0.4 * float(np.hypot(*along)))
    s = np.linspace(0.0, 1.0, POINTS)[:, None]
    return (1.0 - s) ** 2 * start + 2.0 * s * (1.0 - s) * control + s**2 * end


def outline(arrow: Arrow) -> Float[Floats, "n 2"]:
    """Return the polygon of an arrow: it widens towards its head."""
    line, width = arrow.line, arrow.width_px
    step = np.diff(line, axis=0)
    length = np.concatenate([[0.0], np.cumsum(np.hypot(step[:, 0], step[:, 1]))])

    head_px = min(6.0 + 0.9 * width, 0.5 * float(length[-1]))
    neck = length[-1] - head_px
    at = np.concatenate([length[length < neck], [neck]])
    shaft = np.stack([np.interp(at, length, line[:, i]) for i in range(2)], axis=1)

    along = np.gradient(shaft, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.hypot(along[:, 0], along[:, 1])[:, None]

    # The shaft grows from 45 % of the width to all of it, so that it points also where no head is seen.
    half = (width / 2.0 * (0.45 + 0.55 * at / neck))[:, None]

    head = normal[-1] * (width / 2.0 + 3.0)
    left, right = shaft + half * normal, shaft - half * normal
    return np.concatenate([left, [shaft[-1] + head, line[-1], shaft[-1] - head], right[::-1]])
