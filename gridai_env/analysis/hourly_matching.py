"""How clean a load is hour by hour: matching with contracted clean generation, and its emissions.

The score is that of 24/7 carbon-free energy (Google, *24/7 Carbon-Free Energy: Methodologies and Metrics*, 2021):
``CFE = sum_h [min(c_h, l_h) + (l_h - min(c_h, l_h)) g_h] / sum_h l_h``, with contracted clean energy c of the same
grid, load l and the clean share g of the grid's mix.  No surplus is carried to another hour.

The load is what is imported: renewables and batteries behind the meter have lowered it.  Shapes: T hours or steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Float, Floats


@dataclass(frozen=True)
class HourlyMatch:
    """Energy matched and not, and both scores; scores are NaN without load."""

    load_mwh: float
    contracted_mwh: float
    matched_mwh: float
    surplus_mwh: float  # contracted energy beyond the load of its hour
    unmatched_mwh: float
    score_contracted: float
    score_with_grid: float


def match_hours(
    load_mwh: Float[Floats, " T"],
    contracted_mwh: Float[Floats, " T"],
    grid_clean_share: float | Float[Floats, " T"] = 0.0,
) -> HourlyMatch:
    """Return how much of a load its contracts match in the same hour; ValueError for energy below 0."""
    unmatched = unmatched_mwh(load_mwh, contracted_mwh)
    load = float(load_mwh.sum())
    matched = load - float(unmatched.sum())
    from_grid = float((unmatched * grid_clean_share).sum())

    return HourlyMatch(
        load_mwh=load,
        contracted_mwh=float(contracted_mwh.sum()),
        matched_mwh=matched,
        surplus_mwh=float(contracted_mwh.sum()) - matched,
        unmatched_mwh=float(unmatched.sum()),
        score_contracted=matched / load if load > 0.0 else float("nan"),
        score_with_grid=(matched + from_grid) / load if load > 0.0 else float("nan"),
    )


def unmatched_mwh(load_mwh: Float[Floats, " T"], contracted_mwh: Float[Floats, " T"]) -> Float[Floats, " T"]:
    """Return the load of each hour that its contracts do not match; ValueError for energy below 0."""
    for name, values in (("load_mwh", load_mwh), ("contracted_mwh", contracted_mwh)):
        if not (values >= 0.0).all():
            raise ValueError(f"{name}: must be at least 0 in every hour, found {np.min(values):g} [MWh]")
    return np.maximum(0.0, load_mwh - contracted_mwh)


def location_based_kg(load_mwh: Float[Floats, " T"], grid_kg_per_mwh: float | Float[Floats, " T"]) -> float:
    """Return emissions by the grid's factors, whatever is contracted (GHG Protocol, scope 2)."""
    return float((load_mwh * grid_kg_per_mwh).sum())


def market_based_kg(
    load_mwh: Float[Floats, " T"],
    contracted_mwh: Float[Floats, " T"],
    residual_kg_per_mwh: float | Float[Floats, " T"],
) -> float:
    """Return emissions with matching by the hour: 0 for matched energy, the residual mix's factor for the rest.

    As in the draft of the GHG Protocol's scope 2 of October 2025; where no residual mix is known, the zone's
    marginal factor stands in.
    """
    return float((unmatched_mwh(load_mwh, contracted_mwh) * residual_kg_per_mwh).sum())
