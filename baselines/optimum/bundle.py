"""A proximal bundle method: the maximum of a sum of concave functions that are known by values and slopes.

Each function is modelled by the lowest of its tangents so far; the next point maximises the sum of the models less
``|point - centre| ** 2 / (2 * reach)`` (Lemarechal, 1975; one model per function: Frangioni, 2002).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import LinearConstraint, minimize

from gridai_env.arrays.types import Float, Floats

# Share of the gain foreseen from which a point becomes the centre; factors of the reach after such a step and after
# others; points kept.
SERIOUS, FURTHER, NEARER, KEPT = 0.1, 1.5, 0.7, 15


class Bundle:
    """Tangents of ``functions`` concave functions of n numbers at some points, seen from a centre."""

    def __init__(
        self,
        centre: Float[Floats, " n"],
        values: Float[Floats, " functions"],
        slopes: Float[Floats, "functions n"],
        reach: float,
    ) -> None:
        """Begin with what the functions are at the centre; ``reach``: the first step goes about so many slopes."""
        self.centre, self.value, self.reach = centre, float(values.sum()), reach
        self.foreseen = np.inf  # of the models, at the point asked for last
        self._slopes, self._levels = (
            slopes[None],
            (values - slopes @ centre)[None],
        )  # [points, functions, ...]
        self._of_centre, self._weights = 0, np.ones(1)

    def add(
        self,
        point: Float[Floats, " n"],
        values: Float[Floats, " functions"],
        slopes: Float[Floats, "functions n"],
    ) -> None:
        """Learn what the functions are at a point; it becomes the centre where that is much of what was foreseen."""
        self._slopes = np.concatenate([self._slopes, slopes[None]])
        self._levels = np.concatenate([self._levels, (values - slopes @ point)[None]])
        self._weights = np.append(self._weights, np.inf)

        total, gain = float(values.sum()), self.foreseen - self.value
        if total > self.value and total - self.value >= SERIOUS * gain:
            self.centre, self.value, self._of_centre = point, total, len(self._levels) - 1
            self.reach *= FURTHER
        else:
            self.reach *= NEARER
        if len(self._levels) > KEPT:
            self._forget()

    def _forget(self) -> None:
        """Drop the point that had the least say in the last step; never that of the centre."""
        says = self._weights.copy()
        says[self._of_centre] = np.inf
        kept = np.arange(len(says)) != says.argmin()
        self._of_centre -= int(says.argmin() < self._of_centre)
        self._slopes, self._levels, self._weights = (
            self._slopes[kept],
            self._levels[kept],
            self._weights[kept],
        )

    def next_point(self) -> Float[Floats, " n"]:
        """Return where to look next: weights of tangents, found in the dual, say in which direction."""
        points, functions = self._levels.shape
        heights = self._levels + self._slopes @ self.centre  # of the tangents at the centre
        heights -= heights.min(0)  # what all tangents of a function have in common decides nothing
        scale = max(float(heights.max()), 1e-9 * abs(self.value), 1e-12)
        flat = self._slopes.reshape(points * functions, -1)
        product, linear = flat @ flat.T * (self.reach / scale), heights.ravel() / scale
        one_each = np.tile(np.eye(functions), points)  # weights of a function's tangents add up to 1

        found = minimize(
            lambda w: (0.5 * w @ product @ w + w @ linear, product @ w + linear),
            np.full(points * functions, 1.0 / points),
            jac=True,
            bounds=[(0.0, 1.0)] * (points * functions),
            constraints=LinearConstraint(one_each, 1.0, 1.0),
            method="SLSQP",
            options={"ftol": 1e-10, "maxiter": 200},
        )
        self._weights = found.x.reshape(points, functions).sum(1)
        point = self.centre + self.reach * (found.x @ flat)
        self.foreseen = float((self._levels + self._slopes @ point).min(0).sum())
        return np.asarray(point)
