"""What more latency buys: energy and carbon return on latency (ERL, CRL), from the frontier's values.

F(l) is the least cost (F_cost), the least carbon (F_co2) or minus the most benefit (V) under budget l.  Then
``ERL = -dF_cost/dl``, ``CRL = -dF_co2/dl`` (arXiv 2604.27855; normalisation is our own choice): *arc* between
neighbouring points, ``(F_i - F_i+1) / (l_i+1 - l_i)``, and *marginal* at a point.  F steps down wherever a route
opens, so the derivative exists almost nowhere; the marginal is the arc over both neighbours (central difference,
the two arcs weighted by their length), at the ends the one arc there is.

Positive: more latency lowers F.  Per ms where the budget of one class is swept, per per cent of scale where all
are.  Shapes: S seeds, P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from gridai_env.analysis.statistics import mean_interval
from gridai_env.arrays.types import Float, Floats

# Relative to the largest value of a curve: what a solver's tolerance may make of "never rises".
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Returns:
    """Returns on latency along a grid, means over seeds; ``unit`` is USD or kg, per ``per`` of the axis."""

    points: Float[Floats, " P"]  # ms, or factors on all budgets
    unit: str  # of F: "USD" or "kg"
    per: Literal["ms", "%"]  # of the axis: 1 ms, or 1 per cent of scale
    value: Float[Floats, " P"]  # mean F
    arc: Float[Floats, " P-1"]
    # Interval of the arcs: spread over seeds and what solvers left open; NaN where there is neither.
    arc_low: Float[Floats, " P-1"]
    arc_high: Float[Floats, " P-1"]
    marginal: Float[Floats, " P"]
    relative_percent: Float[Floats, " P-1"]  # arc per 100 ms (per 1 % of scale) in % of the base
    base: float  # what figures are relative to: |F| at the tightest point, or what the caller gave

    def rows(self, quantity: str, class_name: str) -> list[dict[str, Any]]:
        """Return one row per arc: the columns of ``returns.csv``; cells that do not belong to the axis are NaN.

        The marginal return of a row is that at the point from which the arc starts, ``marginal_to`` at its end.
        """
        return [self._row(i, quantity, class_name) for i in range(len(self.arc))]

    def _row(self, i: int, quantity: str, class_name: str) -> dict[str, Any]:
        in_ms = self.per == "ms"
        nan = float("nan")
        ends = (float(self.points[i]), float(self.points[i + 1]))
        found = {"": self.arc[i], "_low": self.arc_low[i], "_high": self.arc_high[i]}

        return {
            "quantity": quantity,
            "class": class_name,
            "from_point": i,
            "to_point": i + 1,
            "from_ms": ends[0] if in_ms else nan,
            "to_ms": ends[1] if in_ms else nan,
            "from_scale": nan if in_ms else ends[0],
            "to_scale": nan if in_ms else ends[1],
            **{f"arc_per_ms{end}": float(x) if in_ms else nan for end, x in found.items()},
            "arc_per_100ms": 100.0 * float(self.arc[i]) if in_ms else nan,
            "marginal_per_ms": float(self.marginal[i]) if in_ms else nan,
            "marginal_to_per_ms": float(self.marginal[i + 1]) if in_ms else nan,
            **{f"arc_per_percent{end}": nan if in_ms else float(x) for end, x in found.items()},
            "marginal_per_percent": nan if in_ms else float(self.marginal[i]),
            "marginal_to_per_percent": nan if in_ms else float(self.marginal[i + 1]),
            "relative_percent": float(self.relative_percent[i]),
            "unit": f"{self.unit}/{self.per}",
        }


def returns(
    values: ArrayLike,
    lows: ArrayLike,
    highs: ArrayLike,
    points: ArrayLike,
    unit: str = "USD",
    axis: str = "scale",
    level: float = 0.95,
    base: float | None = None,
) -> Returns:
    """Return on latency of F along a grid.

    ``values``, ``lows``, ``highs`` [S,P] (or [P] for one seed): F in the minimised sense (minus benefit, cost,
    kg), and the interval that certainly holds the optimum: proven bound below, value of the plan above.
    ``points`` [P] rises; ``axis`` as in `gridai_env.analysis.latency_budgets.Sweep`.  ``base``: what relative
    figures are relative to, by default |F| at the tightest point, which suits costs but not a profit that may
    be near 0.

    An arc's interval covers both sources of uncertainty: its ends are the lower end of the bootstrap interval over
    seeds of the least arcs that the solver's intervals allow, and the upper end of that of the greatest.  With one
    seed it is the solver's alone.  An infinite bound makes it infinite; where a value is NaN, so are the arcs next
    to it.  Raises ValueError for shapes that do not match.
    """
    curves = [np.atleast_2d(np.asarray(x, dtype=np.float64)) for x in (values, lows, highs)]
    at = np.asarray(points, dtype=np.float64)
    _check_shapes(curves, at)
    value, low, high = curves

    per: Literal["ms", "%"] = "%" if axis == "scale" else "ms"
    width = np.diff(at) * (100.0 if per == "%" else 1.0)
    with np.errstate(invalid="ignore"):  # nothing known at two points: NaN
        least, most = (low[:, :-1] - high[:, 1:]) / width, (high[:, :-1] - low[:, 1:]) / width
        mean = value.mean(0)
        arc = -np.diff(mean) / width

    whole = abs(float(mean[0])) if base is None else base
    per_unit = whole * (1.0 if per == "%" else 0.01)
    return Returns(
        points=at,
        unit=unit,
        per=per,
        value=mean,
        arc=arc,
        arc_low=np.minimum([_end(x, level, "low") for x in least.T], arc),
        arc_high=np.maximum([_end(x, level, "high") for x in most.T], arc),
        marginal=_marginal(arc, width),
        relative_percent=100.0 * arc / per_unit if per_unit > 0.0 else np.full_like(arc, np.nan),
        base=whole,
    )


def _check_shapes(curves: list[Floats], at: Floats) -> None:
    shapes = [x.shape for x in curves]
    if at.ndim != 1 or len(at) < 2 or (np.diff(at) <= 0.0).any():
        raise ValueError(f"points: need at least two, rising, got {at.tolist()}")
    if any(shape != shapes[0] for shape in shapes) or shapes[0][1] != len(at) or not shapes[0][0]:
        raise ValueError(f"values, lows, highs: need [seeds, {len(at)} points] each, got {shapes}")


def _end(sample: Floats, level: float, end: Literal["low", "high"]) -> float:
    """Return an end of the mean's bootstrap interval; the mean itself of one number, or if one is infinite."""
    if len(sample) == 1 or not np.isfinite(sample).all():
        return float(sample.mean())
    return float(getattr(mean_interval(sample, level=level, draws=2_000), end))


def _marginal(arc: Floats, width: Floats) -> Floats:
    """Return central differences [P] from the arcs [P-1]."""
    fall = arc * width
    inner = (fall[:-1] + fall[1:]) / (width[:-1] + width[1:])
    return np.concatenate([arc[:1], inner, arc[-1:]])


# F never rises --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rise:
    """A rise in a curve that must not rise: ``after`` at ``point`` exceeds ``before`` at ``earlier``."""

    point: int
    earlier: int
    before: float
    after: float

    def __str__(self) -> str:
        return (
            f"point {self.point}: {self.after:.9g} is above {self.before:.9g} of point {self.earlier}, "
            "but a larger budget can only help"
        )


def monotone(values: ArrayLike, tolerance: float = TOLERANCE, lows: ArrayLike | None = None) -> Rise | None:
    """Return the first point [P] at which F (minimised) lies above that of a tighter point, None where none does.

    ``tolerance`` is relative to the largest absolute value.  With ``lows`` (proven bounds) only what the
    solver proved counts: a plan that is merely not optimal may cost more than that of a tighter point.
    Values that are not a number (no plan) are skipped.
    """
    after = np.asarray(values if lows is None else lows, dtype=np.float64)
    value = np.asarray(values, dtype=np.float64)
    if value.ndim != 1 or value.shape != after.shape:
        raise ValueError(f"values: must be one number per point, got shapes {value.shape}, {after.shape}")
    known = np.abs(value[np.isfinite(value)])
    slack = tolerance * float(known.max(initial=0.0))

    best, earlier = np.inf, -1
    for i in range(len(value)):
        if after[i] > best + slack:
            return Rise(i, earlier, float(best), float(after[i]))
        if value[i] < best:
            best, earlier = value[i], i
    return None


def check_monotone(
    values: ArrayLike, what: str, tolerance: float = TOLERANCE, lows: ArrayLike | None = None
) -> None:
    """Raise ValueError that says where the curve called ``what`` rises (see `monotone`)."""
    rise = monotone(values, tolerance, lows)
    if rise is not None:
        raise ValueError(f"{what}: {rise}")
