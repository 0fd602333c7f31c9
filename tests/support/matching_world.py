"""A made-up day: 100 MW of load, of which 20 may wait, and a solar contract of 240 MW in the last ten hours."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridai_env.episodes.instance import Instance
from tests.support.tiny import set_exogenous, tiny

DARK_H = 14
SUNNY = np.arange(24) >= DARK_H
SOLAR_MW, WIND_MW = np.where(SUNNY, 240.0, 0.0), 30.0
SITE: dict[str, Any] = {"idle_kw_per_gpu": 0.0, "busy_kw_per_gpu": 1.0, "pue_base": 1.0}
PRICE = {"price_usd_per_mwh": 20.0}
SUN: dict[str, Any] = {"name": "sun", "kind": "matching", "pv_mw": 240.0, **PRICE}
WIND: dict[str, Any] = {"name": "wind", "kind": "matching", "wind_mw": 80.0, **PRICE}


def sunny_world(grid: dict[str, Any] | None = None, neighbours: bool = False) -> Instance:
    """Return the day; ``grid``: keys of the site's grid, by default a clean share of 0.4.

    Accelerators of the site are enough for 128 MW.  ``neighbours``: two sites more, with 50 MW of load each, and wind
    contracts at the first and at the last one.
    """
    known = {"clean_share": 0.4} if grid is None else grid
    site = {**SITE, "gpus": 128_000.0, "grid": {"import_limit_mw": 200.0, **known}, "lines": [SUN]}
    sites, regions = [site], 1
    if neighbours:
        beside = {**SITE, "gpus": 60_000.0}
        sites = [
            site | {"lines": [SUN | {"wind_mw": 80.0}]},
            beside,
            beside | {"lines": [WIND], "grid": {"clean_share": 0.4}},
        ]
        regions = 3
    world = tiny(
        steps=24,
        sites=tuple(sites),
        regions=({},) * regions,
        classes=({"share": 0.8}, {"share": 0.2, "wait_h": 24.0}),
    )
    intensity = np.where(SUNNY, 300.0, 500.0)[:, None]
    shares = np.array([0.8, 0.2])
    load_mw = np.array([100.0, 50.0, 50.0])[:regions]
    line_mw = world.exogenous.line_mw.copy()
    line_mw[:, 0, 0] = SOLAR_MW
    if neighbours:
        line_mw[:, 0, 0] += WIND_MW
        line_mw[:, 0, 2] = 80.0
    values = {
        "arrivals_gpuh": 1000.0 * load_mw[:, None] * shares,
        "buy_usd_per_mwh": 40.0,
        "carbon_average_kg_per_mwh": intensity,
        "carbon_marginal_kg_per_mwh": 2.0 * intensity,
        "line_mw": line_mw,
    }
    return set_exogenous(world, values)
