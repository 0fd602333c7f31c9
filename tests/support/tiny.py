"""Tiny worlds with round numbers, for cases that are worked out by hand.

By default: one site of 1000 accelerators (idle 0.2 kW, busy 1.2 kW, PUE 1.25, all usable), one region, one
class that may not wait, one hour per step.  Exogenous arrays are then set directly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gridai_env.episodes.demand import first_placement_gpuh, queue_limits_gpuh, session_growth
from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.scenario.load import parse_scenario
from tests.support.strategies import with_guards

SITE = {
    "zone": "DE-LU",
    "latitude": 50.0,
    "longitude": 8.0,
    "legal_zone": "EU",
    "gpus": 1000.0,
    "utilisation_limit": 1.0,
    "speed": 1.0,
    "idle_kw_per_gpu": 0.2,
    "busy_kw_per_gpu": 1.2,
    "pue_base": 1.25,
    "pue_per_c": 0.0,
}
GRID = {"import_limit_mw": 100.0, "export_limit_mw": 0.0, "sell_share": 0.5, "sell_spread_usd_per_mwh": 1.0}
REGION = {"latitude": 50.0, "longitude": 8.0, "timezone": "UTC", "mean_gpus": 100.0, "noise": 0.0}
CLASS = {
    "share": 1.0,
    "latency_budget_ms": 1e6,
    "processing_ms": 1.0,
    "revenue_usd_per_gpuh": 0.5,
    "drop_usd_per_gpuh": 0.25,
    "payload_gb_per_gpuh": 0.0,
    "relocation_usd_per_gpuh": 0.01,
    "warm_usd_per_gpuh": 0.02,
}
BATTERY = {
    "capacity_mwh": 10.0,
    "power_mw": 4.0,
    "charge_efficiency": 0.8,
    "discharge_efficiency": 0.5,
    "min_share": 0.0,
    "max_share": 1.0,
    "initial_share": 0.5,
    "target_share": 0.0,
    "wear_usd_per_mwh": 2.0,
    "shortfall_usd_per_mwh": 40.0,
}
GENERATOR = {"capacity_mw": 2.0, "ramp_mw_per_h": 1.0, "fuel_usd_per_mwh": 80.0, "carbon_kg_per_mwh": 500.0}


def tiny(
    steps: int = 2,
    dt_h: float = 1.0,
    sites: tuple[dict[str, Any], ...] = ({},),
    classes: tuple[dict[str, Any], ...] = ({},),
    regions: tuple[dict[str, Any], ...] = ({},),
    jobs: tuple[dict[str, Any], ...] = (),
    exogenous: dict[str, Any] | None = None,
    **scenario: Any,
) -> Instance:
    """One instance; ``exogenous`` holds values that are broadcast to [T,...] arrays of the same name.

    Sites, classes, regions and jobs give what differs from the defaults; the grid of a site is under "grid".
    Setting ``arrivals_gpuh`` derives queue limits, growth and the first placement again.
    """
    names = "abc"
    data = {
        "name": "tiny",
        "horizon_h": steps * dt_h,
        "dt_h": dt_h,
        "reward_scale_usd": 1.0,
        "carbon_price_usd_per_t": 0.0,
        "carbon_signal": "average",
        "latency": {"rtt": "formula"},
        "forecast": {"kind": "perfect", "leads_h": [dt_h]},
        "sites": [
            {**SITE, "name": names[i], **s, "grid": {**GRID, **s.get("grid", {})}}
            for i, s in enumerate(sites)
        ],
        "regions": [{**REGION, "name": f"r{i}", "home": names[i], **r} for i, r in enumerate(regions)],
        "classes": [{**CLASS, "name": f"class{i}", **c} for i, c in enumerate(classes)],
        "jobs": [{"name": f"j{i}", **j} for i, j in enumerate(jobs)],
        **scenario,
    }
    instance = make_instance(parse_scenario(data, "tiny"), seed=0)
    return set_exogenous(instance, {"carbon_average_kg_per_mwh": 0.0, **(exogenous or {})})


def set_exogenous(instance: Instance, values: dict[str, Any]) -> Instance:
    """The instance with other exogenous values; what follows from arrivals and prices is derived again."""
    exo, wait = instance.exogenous, instance.compiled.row_wait_steps
    wide = {
        name: np.broadcast_to(np.asarray(v, dtype=float), getattr(exo, name).shape).copy()
        for name, v in values.items()
    }
    initial = instance.initial
    if "arrivals_gpuh" in wide:
        arrivals = wide["arrivals_gpuh"]
        growth, rehomed = session_growth(arrivals, wait)
        wide |= {
            "growth": growth,
            "rehomed_gpuh": rehomed,
            "queue_limit_gpuh": queue_limits_gpuh(arrivals, wait),
        }
        placed = first_placement_gpuh(arrivals[0], instance.params.home, wait)
        initial = initial.replace(placed_gpuh=placed)
    if "buy_usd_per_mwh" in wide:
        wide["network_usd_per_mwh"] = np.maximum(wide["buy_usd_per_mwh"], 0.0)
        wide.setdefault("sell_usd_per_mwh", wide["buy_usd_per_mwh"] * 0.5 - 1.0)
    return with_guards(replace(instance, exogenous=exo.replace(**wide), initial=initial))


def action_of(instance: Instance, **parts: Any) -> np.ndarray:
    """A flat action [A]: all work goes home, battery and generator idle, renewables used, jobs wait.

    ``routing`` [C,W,K+2], ``battery``, ``generator``, ``renewable`` [K], ``jobs`` [V,K+1] may replace it.
    """
    s = instance.compiled.shape
    home = np.concatenate([2.0 * instance.params.home - 1.0, np.zeros((s.regions, 2))], axis=-1)
    jobs = np.full((s.slots, s.sites + 1), -1.0)
    jobs[:, -1] = 1.0
    default: dict[str, Any] = {
        "routing": np.repeat(home[:, None], s.rows, axis=1),
        "battery": np.zeros(s.sites),
        "generator": np.zeros(s.sites),
        "renewable": np.zeros(s.sites),
        "jobs": jobs,
    }
    given = default | {name: np.broadcast_to(v, default[name].shape) for name, v in parts.items()}
    return np.concatenate([np.ravel(given[name]) for name in default]).astype(float)
