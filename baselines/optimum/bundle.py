"""A proximal bundle method: the maximum of a sum of concave functions that are known by values and slopes.

Each function is modelled by the lowest of its tangents so far; the next point maximises the sum of the models less
``|point - centre| ** 2 / (2 * reach)`` (Lemarechal, 1975; one model per function: Frangioni, 2002).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import LinearConstraint, minimize

from gridai_env.arrays.types import Float, Floats

# Share of the gain foreseen from which a point becomes the centre; factors of the reach after such a step and after
# others; tangents kept of each function.
SERIOUS, FURTHER, NEARER, KEPT = 0.1, 1.5, 0.7, 12


class Bundle:
    """Tangents of ``functions`` concave functions of n numbers, seen from a centre."""

    def __init__(self, centre: Float[Floats, " n"], reach: float) -> None:
        self.centre, self.reach = centre, reach
        self.value = -np.inf  # of the sum, at the centre
        self.foreseen = np.inf  # of the models, at the point asked for last
        self._slopes: list[Floats] = []  # of each function [tangents, n]
        self._levels: list[Floats] = []  # of each function: its tangents at 0 [tangents]

    def add(
        self,
        point: Float[Floats, " n"],
        values: Float[Floats, " functions"],
        slopes: Float[Floats, "functions n"],
    ) -> None:
        """Learn what the functions are at a point; it becomes the centre where that is much of what was foreseen."""
        level = values - slopes @ point
        if not self._slopes:
            self._slopes, self._levels = [s[None] for s in slopes], [x[None] for x in level]
        else:
            self._slopes = [np.vstack([old, s])[-KEPT:] for old, s in zip(self._slopes, slopes, strict=True)]
            self._levels = [np.append(old, x)[-KEPT:] for old, x in zip(self._levels, level, strict=True)]

        total = float(values.sum())
        if not np.isfinite(self.value) or total - self.value >= SERIOUS * (self.foreseen - self.value):
            is_first = not np.isfinite(self.value)
            self.centre, self.value = point, total
            self.reach *= 1.0 if is_first else FURTHER
        else:
            self.reach *= NEARER

    def next_point(self) -> Float[Floats, " n"]:
        """Return where to look next: weights of tangents, found in the dual, say in which direction."""
        slopes = np.vstack(self._slopes)
        heights = np.concatenate(self._levels) + slopes @ self.centre  # of the tangents at the centre
        scale = max(float(np.abs(heights).max()), 1e-12)
        product = slopes @ slopes.T * (self.reach / scale)
        count = [len(levels) for levels in self._levels]
        owner = np.repeat(np.arange(len(count)), count)
        one_each = (owner == np.arange(len(count))[:, None]).astype(float)

        found = minimize(
            lambda w: (0.5 * w @ product @ w + w @ heights / scale, product @ w + heights / scale),
            one_each.sum(0) / np.array(count)[owner],
            jac=True,
            bounds=[(0.0, 1.0)] * len(owner),
            constraints=LinearConstraint(one_each, 1.0, 1.0),
            method="SLSQP",
        )
        point = self.centre + self.reach * (found.x @ slopes)
        models = [
            float((levels + s @ point).min()) for levels, s in zip(self._levels, self._slopes, strict=True)
        ]
        self.foreseen = sum(models)
        return np.asarray(point)
