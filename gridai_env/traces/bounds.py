"""What the values of a series may be, and between which means those of the world's markets lie.

Readers of trace files and of exports share this table.  A value outside of `POSSIBLE` is refused where it is used.
A mean outside of `USUAL_MEAN` is only warned of.  It shows a unit a thousand times too small or too large (kWh for
MWh, kelvin), not one of similar size: EUR for USD or lb for kg cannot be seen.
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.types import Float, Floats

# The price is that of any currency per MWh: the dearest cap of a market is about 15,000 USD, the lowest floor -1,000.
POSSIBLE: dict[str, tuple[float, float]] = {
    "price_usd_per_mwh": (-20_000.0, 100_000.0),
    "carbon_average_kg_per_mwh": (0.0, 5_000.0),
    "carbon_marginal_kg_per_mwh": (0.0, 5_000.0),
    "wetbulb_c": (-80.0, 45.0),
    "pv_cf": (0.0, 1.0),
    "wind_cf": (0.0, 1.0),
    "sell_usd_per_mwh": (-20_000.0, 100_000.0),
    "requests_per_s": (0.0, 1e9),
    "gpus": (0.0, 1e9),
}

# Columns of sites by how their names begin: the share of an interval that is called, the notice of a call in hours.
POSSIBLE_OF_SITES = {"call_": (0.0, 1.0), "notice_h_": (0.0, 8_760.0)}

# Annual means of the 16 calibrated zones: 14 to 185 USD/MWh, 47 to 691 kg/MWh, 6.7 to 25 deg C, 0.10 to 0.19 (sun) and
# 0.30 to 0.41 (wind).  Single weeks and other years need the room around them.
USUAL_MEAN: dict[str, tuple[float, float]] = {
    "price_usd_per_mwh": (2.0, 3_000.0),  # of the size of prices: a week may be negative on average
    "carbon_average_kg_per_mwh": (5.0, 1_500.0),
    "carbon_marginal_kg_per_mwh": (5.0, 1_500.0),
    "wetbulb_c": (-40.0, 35.0),
    "pv_cf": (0.0, 0.5),
    "wind_cf": (0.0, 0.9),
}


def possible_range(name: str) -> tuple[float, float]:
    """Return the least and the greatest value that a column may have."""
    of_site = (bounds for begin, bounds in POSSIBLE_OF_SITES.items() if name.startswith(begin))
    return POSSIBLE[name] if name in POSSIBLE else next(of_site)


def unusual_mean(name: str, values: Float[Floats, " n"]) -> str | None:
    """Return a sentence where the mean of a column is that of no market; None where it is usual or has no values."""
    low, high = USUAL_MEAN[name]
    # Prices below zero are as usual as those above.
    mean = float((np.abs(values) if name.startswith("price") else values).mean()) if values.size else low
    if low <= mean <= high:
        return None
    usual = f"usual are {low:g} to {high:g}: check its unit (per MWh, not per kWh)"
    return f"{name} is {mean:.3g} on average, {usual}"
