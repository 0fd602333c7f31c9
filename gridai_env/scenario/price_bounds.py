"""The lowest price of import that the synthetic traces can have: what a scenario must hold against."""

from math import isnan

import numpy as np

from gridai_env.arrays.types import Ints
from gridai_env.scenario.lines import HOURS_PER_DAY
from gridai_env.scenario.spec import Scenario, Site
from gridai_env.traces.calibration import zone_calibration


def least_import_usd_per_mwh(s: Scenario, site: Site) -> float:
    """Return a bound of a site's price of import from below, price shocks included, in USD/MWh.

    No hour of an episode that starts on one of the scenario's days is cheaper.  The zone must be a calibrated one:
    prices there are never below its lowest quantile of the month (`gridai_env.traces.synthetic`).
    """
    table, grid, months = zone_calibration(site.zone), site.grid, _months(s)
    lowest, usual = (prices["price"][months] for prices in (table.quantiles, table.climatology))
    # As in `gridai_env.episodes.exogenous.site_series`.
    market = ((1.0 - grid.price_spread_scale) * usual).min() + grid.price_spread_scale * lowest.min()
    price = float(grid.price_scale * market + grid.price_adder_usd_per_mwh)
    for event in s.events:
        if (
            event.kind == "price"
            and event.probability > 0
            and (event.sites is None or site.name in event.sites)
        ):
            price = min(price, event.factor * price + event.add_usd_per_mwh)
    return price


def _months(s: Scenario) -> Ints:
    """Return the months 0..11 that an episode can touch, on any clock."""
    last = s.start.last
    if isnan(s.horizon_h) or last < s.start.first:
        return np.arange(12)
    ends = np.datetime64(last) + int(s.horizon_h // HOURS_PER_DAY) + 3
    days = np.arange(np.datetime64(s.start.first) - 1, ends)
    return np.unique(days.astype("datetime64[M]").astype(np.int64) % 12)
