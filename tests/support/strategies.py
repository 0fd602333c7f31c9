"""Random small worlds for the whole suite: scenarios of one to three sites, then odd hours on top.

`random_scenario` draws a valid scenario; `random_instances` makes episodes of it and then changes their
exogenous arrays within what is valid (prices at or below zero, limits near or at zero, faults, hours without
arrivals), so that rare cases occur often.  Queue limits, growth, export limits and last-resort prices are
derived again by the package's own functions.  Everything is a pure function of the seed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from gridai_env.episodes.demand import first_placement_gpuh, queue_limits_gpuh, session_growth
from gridai_env.episodes.exogenous import sell_usd_per_mwh
from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.episodes.last_resorts import last_resort_prices
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import parse_scenario
from gridai_env.scenario.spec import Scenario
from gridai_env.world.state import Flows

Rng = np.random.Generator

PLACES = (
    {"zone": "US-CAL-CISO", "latitude": 37.4, "longitude": -122.0, "legal_zone": "US"},
    {"zone": "DE-LU", "latitude": 50.1, "longitude": 8.7, "legal_zone": "EU"},
    {"zone": "US-TEX-ERCO", "latitude": 32.8, "longitude": -96.8, "legal_zone": "US"},
)
CLOCKS = ("America/Los_Angeles", "Europe/Berlin", "America/Chicago")


def instance_seeds() -> st.SearchStrategy[int]:
    """Seeds of random worlds, for hypothesis (shrinking a seed shrinks nothing else: worlds are small)."""
    return st.integers(min_value=0, max_value=2**31 - 1)


def flip(rng: Rng, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


def pick(rng: Rng, *options: Any) -> Any:
    """One of the options, all alike."""
    return options[int(rng.integers(len(options)))]


# Scenario -------------------------------------------------------------------------------------------------


def random_scenario(seed: int) -> Scenario:
    """A small valid scenario in which each feature is on or off by chance."""
    rng = np.random.default_rng([seed, 1])
    dt_h = pick(rng, 1.0, 1.0, 0.25)
    steps = int(rng.choice([2, 3, 4, 5, 6, 8], p=[0.25, 0.25, 0.2, 0.15, 0.1, 0.05]))
    sites = [_site(rng, k, dt_h) for k in range(int(rng.choice([1, 2, 3], p=[0.25, 0.5, 0.25])))]
    flexible = np.random.default_rng([seed, 4])
    if flip(flexible, 0.6):
        sites = [site | _flexible(flexible, site, dt_h, steps) for site in sites]
    regions = [_region(rng, c, sites) for c in range(int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])))]
    classes = _classes(rng, dt_h, steps, sites, regions)
    horizon_h = steps * dt_h
    data = {
        "name": f"random {seed}",
        "horizon_h": horizon_h,
        "dt_h": dt_h,
        "reward_scale_usd": 100.0,
        "carbon_signal": pick(rng, "average", "marginal"),
        "carbon_price_usd_per_t": float(pick(rng, 0.0, 50.0, 400.0)),
        "carbon_budget_kg": float(rng.uniform(20.0, 1500.0)) * horizon_h if flip(rng, 0.3) else None,
        "carbon_excess_usd_per_t": float(pick(rng, 100.0, 1000.0)),
        "water_price_usd_per_m3": float(pick(rng, 0.0, 3.0)),
        "latency": {"rtt": "formula", "budget_scale": float(pick(rng, 0.3, 1.0, 3.0))},
        "forecast": {"kind": "perfect", "leads_h": [dt_h]},
        "sites": sites,
        "regions": regions,
        "classes": classes,
        "jobs": _jobs(rng, dt_h, steps, sites),
        "events": _events(rng, dt_h, horizon_h),
    }
    return parse_scenario(data, f"random scenario {seed}")


def _site(rng: Rng, k: int, dt_h: float) -> dict[str, Any]:
    battery = flip(rng, 0.6)
    generator = flip(rng, 0.4)
    return {
        "name": f"site{k}",
        **PLACES[k],
        "gpus": float(rng.uniform(300.0, 3000.0)),
        "utilisation_limit": float(pick(rng, 0.8, 0.9, 1.0)),
        "speed": float(pick(rng, 0.5, 1.0, 1.0, 2.0)),
        "idle_kw_per_gpu": float(pick(rng, 0.0, 0.25)),
        "busy_kw_per_gpu": float(rng.uniform(0.6, 1.4)),
        "base_load_mw": float(pick(rng, 0.0, 0.3)),
        "pv_mw": float(pick(rng, 0.0, 3.0)),
        "wind_mw": float(pick(rng, 0.0, 2.0)),
        "site_water_l_per_mwh": float(pick(rng, 0.0, 1200.0)),
        "grid_water_l_per_mwh": float(pick(rng, 0.0, 1800.0)),
        "grid": {
            "import_limit_mw": float(rng.uniform(0.3, 5.0)) if flip(rng, 0.5) else None,
            "export_limit_mw": float(pick(rng, 0.0, 0.5, 4.0)),
            "sell_share": float(pick(rng, 0.5, 0.9, 1.0)),
            "sell_spread_usd_per_mwh": float(pick(rng, 0.5, 2.0)),
            "demand_charge_usd_per_mw_month": float(pick(rng, 8000.0, 20000.0)) if flip(rng, 0.35) else None,
        },
        "battery": _battery(rng) if battery else None,
        "generator": _generator(rng, dt_h) if generator else None,
    }


def _flexible(rng: Rng, site: dict[str, Any], dt_h: float, steps: int) -> dict[str, Any]:
    """Lines and power modes of a site; what calls do to them is drawn in `distort`."""
    calls = {"start_h": [0.0, 23.0], "duration_h": [dt_h, 2 * dt_h], "per_week": 7}
    priced = {"price_usd_per_mwh": float(pick(rng, 0.0, 5.0, 500.0, 5000.0))}
    baseline: dict[str, Any] = {"baseline": {"days": int(pick(rng, 1, 3)), "weekdays_only": False}}
    kinds: list[dict[str, Any]] = [
        {"kind": "tier", "mw": 0.2, **priced},
        {"kind": "connection", "mw": 0.1, "calls": calls, **priced},
        {"kind": "connection", "mw": 0.1, "calls": calls, "hard": True},
        {"kind": "matching", "wind_mw": 1.0, "pv_mw": 0.5, **priced},
        {
            "kind": "demand_response",
            "price_usd_per_mwh": 2500.0,  # above what the market may fall to, shocks included
            "commitment_mw": 0.1,
            "energy_price_usd_per_mwh": pick(rng, "market", 150.0),
            "capacity_usd_per_mw_day": 300.0,
            "calls": calls,
            **(baseline if flip(rng, 0.7) else {"mw": 0.1}),
        },
    ]
    lines = [{"name": f"line{i}", **kinds[i]} for i in range(len(kinds)) if flip(rng, 0.4)]
    out: dict[str, Any] = {"lines": lines}
    if site["generator"] is not None and any("calls" in line for line in lines) and flip(rng, 0.8):
        out["generator"] = site["generator"] | {"only_while_called": True, "initial_mw": 0.0}
    if flip(rng, 0.5):
        speed, share = np.sort(rng.uniform(0.4, 0.95, 2)), np.sort(rng.uniform(0.2, 0.9, 2))
        idle, full = site["idle_kw_per_gpu"], site["busy_kw_per_gpu"]
        points = [{"speed": s, "kw": idle + (full - idle) * q} for s, q in zip(speed, share, strict=True)]
        out["power_modes"] = [{"points": [*points, {"speed": 1.0, "kw": full}]}]
    return out


def _battery(rng: Rng) -> dict[str, float]:
    low, high = float(pick(rng, 0.0, 0.1)), float(pick(rng, 0.9, 1.0))
    return {
        "capacity_mwh": float(rng.uniform(0.5, 4.0)),
        "power_mw": float(rng.uniform(0.3, 2.0)),
        "charge_efficiency": float(pick(rng, 0.8, 0.93, 1.0)),
        "discharge_efficiency": float(pick(rng, 0.8, 0.93, 1.0)),
        "min_share": low,
        "max_share": high,
        "initial_share": float(pick(rng, low, 0.5, high)),
        "target_share": float(pick(rng, low, 0.5, high)),
        "wear_usd_per_mwh": float(pick(rng, 0.5, 8.0)),
        "shortfall_usd_per_mwh": float(pick(rng, 20.0, 300.0)),
    }


def _generator(rng: Rng, dt_h: float) -> dict[str, float]:
    capacity = float(rng.uniform(0.3, 2.5))
    least = float(pick(rng, 0.0, 0.0, 0.4)) * capacity
    return {
        "capacity_mw": capacity,
        "min_load_mw": least,
        "ramp_mw_per_h": max(least / dt_h, float(pick(rng, 0.3, 1.0, 4.0)) * capacity),
        "fuel_usd_per_mwh": float(pick(rng, 20.0, 90.0)),
        "carbon_kg_per_mwh": float(pick(rng, 0.0, 450.0)),
        "water_l_per_mwh": float(pick(rng, 0.0, 500.0)),
        "initial_mw": float(pick(rng, 0.0, least, capacity)),
    }


def _region(rng: Rng, c: int, sites: list[dict[str, Any]]) -> dict[str, Any]:
    home = sites[int(rng.integers(len(sites)))]
    place = PLACES[c]
    return {
        "name": f"region{c}",
        "home": home["name"],
        "latitude": place["latitude"],
        "longitude": place["longitude"],
        "timezone": CLOCKS[c],
        "mean_gpus": float(rng.uniform(0.2, 1.1)) * home["gpus"] * home["speed"],
        "noise": 0.3,
    }


def _classes(
    rng: Rng, dt_h: float, steps: int, sites: list[dict[str, Any]], regions: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    count = int(rng.choice([1, 2, 3], p=[0.3, 0.5, 0.2]))
    shares = rng.dirichlet(np.ones(count)).tolist()
    shares[-1] = 1.0 - sum(shares[:-1])
    homes = {r["home"] for r in regions}
    return [_class(rng, i, shares[i], dt_h, steps, sites, homes) for i in range(count)]


def _class(
    rng: Rng, i: int, share: float, dt_h: float, steps: int, sites: list[dict[str, Any]], homes: set[str]
) -> dict[str, Any]:
    waits = flip(rng, 0.5)
    bound = flip(rng, 0.3)
    supported = [s["name"] for s in sites if s["name"] in homes or flip(rng, 0.5)]
    return {
        "name": f"class{i}",
        "share": max(share, 0.0),
        "latency_budget_ms": float(pick(rng, 3.6e6 if waits else 1500.0, 300.0)),
        "processing_ms": 100.0,
        "wait_h": dt_h * int(rng.integers(1, steps + 1)) if waits else 0.0,
        "priority": int(rng.integers(0, 3)),
        "flatness": float(pick(rng, 0.0, 1.0)),
        "revenue_usd_per_gpuh": float(rng.uniform(0.02, 0.4)),
        "drop_usd_per_gpuh": float(rng.uniform(0.01, 0.4)),
        "state_bound_share": 0.3 if bound else 0.0,
        "law_bound_share": 0.3 if bound else 0.0,
        "payload_gb_per_gpuh": float(pick(rng, 0.0, 0.3)),
        "relocation_usd_per_gpuh": float(pick(rng, 0.001, 0.05)),
        "relocation_gb_per_gpuh": float(pick(rng, 0.0, 0.1)),
        "warm_usd_per_gpuh": float(pick(rng, 0.001, 0.03)),
        "warm_mwh_per_gpuh": float(pick(rng, 0.0, 0.0002)),
        "supported_at": supported if flip(rng, 0.3) else None,
    }


def _jobs(rng: Rng, dt_h: float, steps: int, sites: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not flip(rng, 0.5):
        return []
    room = [s["gpus"] * s["utilisation_limit"] for s in sites]
    jobs = []
    for j in range(int(rng.integers(1, 4))):
        duration = int(rng.integers(1, min(4, steps) + 1))
        release = int(rng.integers(0, steps - duration + 1))
        slack = int(rng.integers(0, steps - duration - release + 1)) if flip(rng, 0.6) else 0
        gpus = float(rng.uniform(0.3, 0.9)) * max(room)  # two large ones do not fit together
        jobs.append(
            {
                "name": f"job{j}",
                "gpus": gpus,
                "duration_h": duration * dt_h,
                "release_h": release * dt_h,
                "deadline_h": (release + duration + slack) * dt_h,
                "value_usd": gpus * duration * dt_h * float(rng.uniform(0.02, 0.5)),
                "size_jitter": float(pick(rng, 0.0, 0.05)),
            }
        )
    return jobs


def _events(rng: Rng, dt_h: float, horizon_h: float) -> list[dict[str, Any]]:
    events = []
    for kind in ("available_gpus", "import_limit", "export_limit", "price"):
        if flip(rng, 0.25):
            price = kind == "price"
            events.append(
                {
                    "name": kind,
                    "kind": kind,
                    "probability": 0.8,
                    "duration_h": dt_h * int(rng.integers(1, 3)),
                    "factor": float(pick(rng, 0.0, 3.0)) if price else float(pick(rng, 0.0, 0.5)),
                    "add_usd_per_mwh": float(pick(rng, -150.0, 300.0)) if price else 0.0,
                    "announced": flip(rng, 0.5),
                }
            )
    return events


# Instances ------------------------------------------------------------------------------------------------


def random_instances(seed: int, count: int = 1, short_days: bool = False) -> list[Instance]:
    """``count`` episodes of one random scenario, each with odd hours of its own.

    ``short_days``: a day of a baseline has two steps, so that these short episodes have past days; what makes the
    scenario anew (environments, sweeps) has 24 hours again.
    """
    compiled = compile_scenario(random_scenario(seed))
    batch = make_batch(compiled, [seed % 2**31 + i for i in range(count)])
    return [distort(batch[i], np.random.default_rng([seed, 2, i]), short_days) for i in range(count)]


def random_instance(seed: int, short_days: bool = False) -> Instance:
    """One random episode."""
    return random_instances(seed, short_days=short_days)[0]


def distort(instance: Instance, rng: Rng, short_days: bool = False) -> Instance:
    """The same episode with odd but valid exogenous arrays; all that depends on them is derived again."""
    compiled, exo = instance.compiled, instance.exogenous
    shape, wait = compiled.shape, compiled.row_wait_steps
    arrivals = exo.arrivals_gpuh * _odd(rng, exo.arrivals_gpuh.shape, {0.0: 0.08, 0.005: 0.03, 2.5: 0.1})
    buy = exo.buy_usd_per_mwh.copy()
    buy[rng.random(buy.shape) < pick(rng, 0.0, 0.15)] = 0.0
    buy[rng.random(buy.shape) < pick(rng, 0.0, 0.25)] = -float(pick(rng, 3.0, 60.0))
    buy[rng.random(buy.shape) < pick(rng, 0.0, 0.15)] = 900.0
    sites = (shape.steps, shape.sites)
    growth, rehomed = session_growth(arrivals, wait)
    sell = sell_usd_per_mwh(compiled, buy)
    available = exo.available_gpus * _odd(rng, sites, {0.4: pick(rng, 0.0, 0.15), 0.0: pick(rng, 0.0, 0.05)})
    limits = {0.3: pick(rng, 0.0, 0.2), 0.0: pick(rng, 0.0, 0.1)}
    exo = exo.replace(
        arrivals_gpuh=arrivals,
        queue_limit_gpuh=queue_limits_gpuh(arrivals, wait),
        growth=growth,
        rehomed_gpuh=rehomed,
        available_gpus=available,
        import_limit_mw=exo.import_limit_mw * _odd(rng, sites, limits),
        renewable_available_mw=exo.renewable_available_mw * _odd(rng, sites, {0.0: 0.2, 2.0: 0.2}),
        buy_usd_per_mwh=buy,
        sell_usd_per_mwh=sell,
        network_usd_per_mwh=np.maximum(buy, 0.0),
        export_limit_mw=np.where(
            sell < 0.0, 0.0, compiled.export_limit_mw * _odd(rng, sites, {0.2: 0.2, 0.0: 0.2})
        ),
    )
    initial = instance.initial.replace(
        placed_gpuh=first_placement_gpuh(arrivals[0], compiled.params.home, wait)
    )
    changed = replace(instance, exogenous=exo, initial=initial)
    return with_guards(_called(changed, rng, short_days) if compiled.lines.rules else changed)


# A day of so many steps, so that short episodes have past days.
SHORT_DAY = 2


def _called(instance: Instance, rng: Rng, short_days: bool) -> Instance:
    """The instance with lines that are called at random."""
    compiled, exo = instance.compiled, instance.exogenous
    shape = compiled.shape
    lines, sites = exo.line_mw.shape, exo.pue.shape
    most = exo.import_limit_mw[:, None, :]
    called = rng.random(lines) < 0.5
    line_mw = np.where(called, rng.uniform(-0.2, 1.0, lines) * most, np.maximum(most, exo.line_mw))
    for rule in compiled.lines.matching:
        line_mw[:, rule.slot, rule.site] = np.maximum(line_mw[:, rule.slot, rule.site], 0.0)  # generation
    changes = {
        "line_mw": line_mw,
        "generator_open": (rng.random(exo.generator_open.shape) < 0.5) * 1.0,
    }
    if shape.has_response:
        in_event = exo.committed_mw.max(0) + (compiled.params.capacity_usd_per_h > 0.0) > 0.0
        called &= in_event
        worth = exo.line_usd_per_mwh + 1150.0 * in_event
        changes["line_usd_per_mwh"] = np.where(in_event, worth * called, exo.line_usd_per_mwh)
        changes["committed_mw"] = 0.2 * called
        changes["response_usd_per_mwh"] = called * pick(rng, -100.0, -100.0, 150.0)
    initial = instance.initial
    if shape.day_steps:
        changes["baseline_share"] = called * pick(rng, 0.2, 1.0)
        changes["baseline_counts"] = (rng.random(sites) < 0.7) * 1.0
    if shape.day_steps and short_days:
        short = np.zeros((shape.sites, SHORT_DAY))
        initial = initial.replace(baseline_sum_mw=short, day_before_mw=short)
        compiled = replace(compiled, shape=replace(shape, day_steps=SHORT_DAY))
    return replace(instance, compiled=compiled, exogenous=exo.replace(**changes), initial=initial)


def with_guards(instance: Instance) -> Instance:
    """The instance with last-resort prices derived from its arrays."""
    shed, short = last_resort_prices(instance.params, instance.exogenous.map(lambda a: a[None]))
    ones = np.ones(instance.compiled.shape.sites)
    prices = {"shed_usd_per_mwh": shed[0] * ones, "gpu_short_usd_per_gpuh": short[0] * ones}
    return replace(instance, params=instance.params.replace(**prices))


def _odd(rng: Rng, shape: tuple[int, ...], chances: dict[float, float]) -> np.ndarray:
    """Factors that are 1 except, with the given probabilities, the given ones."""
    factor, draw = np.ones(shape), rng.random(shape)
    for value, probability in chances.items():
        factor = np.where(draw < probability, value, factor)
        draw = np.where(draw < probability, 2.0, draw - probability)
    return factor


# What occurs ----------------------------------------------------------------------------------------------


def features(instance: Instance) -> set[str]:
    """Names of the features that an instance has."""
    return {name for name, found in _features(instance).items() if found}


def _features(instance: Instance) -> dict[str, Any]:
    p, x = instance.params, instance.exogenous
    idle_mw = x.pue * x.available_gpus * p.idle_kw_per_gpu / 1000.0 + p.base_load_mw
    return {
        "negative price": (x.buy_usd_per_mwh < 0).any(),
        "zero price": (x.buy_usd_per_mwh == 0).any(),
        "price + wear <= 0 at a battery": (
            (x.buy_usd_per_mwh + p.wear_usd_per_mwh <= 0) & (p.battery_max_mwh > 0)
        ).any(),
        "price shock": (x.buy_usd_per_mwh > 800).any(),
        "export": (x.export_limit_mw > 0).any(),
        "demand charge": (p.demand_charge_usd_per_mw > 0).any(),
        "carbon budget": np.isfinite(p.carbon_budget_kg),
        "jobs": instance.compiled.shape.jobs > 0,
        "battery": (p.battery_max_mwh > 0).any(),
        "generator": (p.generator_max_mw > 0).any(),
        "minimum load": (p.generator_min_mw > 0).any(),
        "generator ramp": (p.generator_ramp_mw_per_h * p.dt_h < p.generator_max_mw).any(),
        "fewer accelerators": (x.available_gpus < p.gpus).any(),
        "no import": (x.import_limit_mw == 0).any(),
        "idle load above import": (idle_mw > x.import_limit_mw).any(),
        "renewables": (x.renewable_available_mw > 0).any(),
        "waiting rows": (p.may_wait > 0).any(),
        "sessions": (p.may_wait == 0).any(),
        "no arrivals": (x.arrivals_gpuh == 0).any(),
        "placement is no reference": (x.rehomed_gpuh > 0).any(),
        "closed routes": (p.route_open == 0).any(),
        "several sites": instance.compiled.shape.sites > 1,
        "several regions": instance.compiled.shape.regions > 1,
        "quarter hours": p.dt_h == 0.25,
        "water price": p.water_price_usd_per_l > 0,
        "average signal": p.bill_marginal == 0,
        "marginal signal": p.bill_marginal == 1,
        "speeds differ": len(set(p.speed.tolist())) > 1,
        "lines": x.line_mw.size > 0,
        "demand response": x.committed_mw.size > 0,
        "baseline": x.baseline_counts.size > 0,
        "energy price below 0 in an event": (x.response_usd_per_mwh < 0.0).any(),
        "power modes": p.saving_kw_per_gpu.size > 0,
        "generator closed": x.generator_open.size > 0,
    }


def activity(instance: Instance, flows: Flows) -> set[str]:
    """Names of the decisions that flows [T,...] really take."""
    return {name for name, found in _activities(instance, flows).items() if np.any(found)}


def _activities(instance: Instance, flows: Flows) -> dict[str, Any]:
    p, x, small = instance.params, instance.exogenous, 1e-7
    on_limit = np.isclose(flows.import_mw, x.import_limit_mw) & (flows.import_mw > small)
    return {
        "charges": flows.charge_mw > small,
        "discharges": flows.discharge_mw > small,
        "generates": flows.generation_mw > small,
        "imports": flows.import_mw > small,
        "imports at the limit": on_limit,
        "exports": flows.export_mw > small,
        "exports at the limit": np.isclose(flows.export_mw, x.export_limit_mw) & (flows.export_mw > small),
        "curtails": flows.renewable_mw < x.renewable_available_mw - small,
        "sheds": flows.shed_mw > small,
        "takes accelerators from jobs": flows.gpu_short > small,
        "drops work": flows.dropped_gpuh > small,
        "drops work that may wait": flows.dropped_gpuh * p.may_wait > small,
        "serves away from home": flows.served_gpuh * (1.0 - p.home[:, None, :]) > small,
        "relocates": flows.relocated_gpuh > small,
        "warms up": flows.warmed_gpuh > small,
        "starts a job": flows.started > 0.5,
        "raises the peak": flows.peak_rise_mw * (p.demand_charge_usd_per_mw > 0) > small,
        "misses the battery target": flows.battery_short_mwh > small,
        "exceeds the carbon budget": flows.carbon_excess_kg > small,
        "holds work": backlog_after(instance, flows) > small,
        "exceeds a line": flows.line_excess_mw > small,
        "saves by power modes": flows.saving_mw > small,
    }


def backlog_after(instance: Instance, flows: Flows) -> np.ndarray:
    """Work left after each step, [T,C,W]."""
    gone = flows.served_gpuh.sum(-1) + flows.dropped_gpuh
    return np.cumsum(instance.exogenous.arrivals_gpuh - gone, axis=0)


def feature_names() -> tuple[str, ...]:
    """All names that `features` can give."""
    return tuple(_features(random_instance(0)))


def activity_names() -> tuple[str, ...]:
    """All names that `activity` can give."""
    instance = random_instance(0)
    shape, lead = instance.compiled.shape, (instance.steps,)
    site = np.zeros((*lead, shape.sites))
    flows = dict.fromkeys(Flows.names(), site)
    work = (*lead, shape.regions, shape.rows)
    flows |= {"served_gpuh": np.zeros((*work, shape.sites)), "relocated_gpuh": np.zeros((*work, shape.sites))}
    return tuple(_activities(instance, Flows(**flows | {"dropped_gpuh": np.zeros(work)})))


# Actions --------------------------------------------------------------------------------------------------


def random_actions(rng: Rng, steps: int, rows: int, size: int) -> np.ndarray:
    """Actions [T,B,A] of mixed kinds: uniform, at the corners, sparse; constant or new in each step."""
    uniform = rng.uniform(-1.0, 1.0, (steps, rows, size))
    kind = rng.integers(0, 4, (1, rows, 1))
    corners = np.sign(uniform)
    sparse = np.where(rng.random((steps, rows, size)) < 0.7, -1.0, uniform)
    quiet = np.where(rng.random((steps, rows, size)) < 0.7, 0.0, uniform)
    return np.choose(kind, [uniform, corners, sparse, quiet])


@lru_cache(maxsize=8)
def pool(count: int, per_scenario: int = 1, first_seed: int = 0) -> tuple[tuple[Instance, ...], ...]:
    """``count`` groups of random instances; instances of one group share a scenario."""
    return tuple(tuple(random_instances(first_seed + i, per_scenario)) for i in range(count))


def steps_of(record: Any, t: int) -> Any:
    """Step ``t`` of a record whose arrays have a leading T, with a batch axis of one."""
    return record.map(lambda a: a[t : t + 1])
