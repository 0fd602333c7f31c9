"""A scenario with more sites: those of another one again and again, under new names and a little different.

What differs between a site and its copies is told by `scripts.maintenance.enlarge`, which writes such scenarios.
"""

from typing import Any

import numpy as np

JITTER, MOVED_DEGREES = 0.2, 2.0
SIZES = {
    "grid": ("import_limit_mw", "export_limit_mw"),
    "battery": ("capacity_mwh", "power_mw"),
    "generator": ("capacity_mw", "min_load_mw", "ramp_mw_per_h", "initial_mw"),
}
OF_LINE = ("mw", "commitment_mw", "wind_mw", "pv_mw")
OF_SITE = ("gpus", "base_load_mw", "pv_mw", "wind_mw")

Table = dict[str, Any]


def enlarged(scenario: Table, count: int, seed: int) -> Table:
    """Return a scenario, as plain tables, with so many sites."""
    sites, regions, jobs = (list(scenario[kind]) for kind in ("sites", "regions", "jobs"))
    had, rng, size_of = len(sites), np.random.default_rng(seed), {}
    for i in range(had, count):
        original, end = sites[i % had], f"_{i // had + 1}"
        size, battery, overhead = np.round(1.0 + rng.uniform(-JITTER, JITTER, 3), 3).tolist()
        shift = np.round(rng.uniform(-MOVED_DEGREES, MOVED_DEGREES, 2), 2).tolist()
        size_of[original["name"] + end] = size

        site = _scaled(_moved(original, end, shift), OF_SITE, size)
        site |= {part: site[part] and _scaled(site[part], keys, size) for part, keys in SIZES.items()}
        site["battery"] = site["battery"] and _scaled(site["battery"], SIZES["battery"], battery)
        site["lines"] = [_scaled(line, OF_LINE, size) for line in site["lines"]]
        site["pue_base"] = min(3.0, round(1.0 + (site["pue_base"] - 1.0) * overhead, 4))
        sites.append(site)
        of_site = [region for region in scenario["regions"] if region["home"] == original["name"]]
        regions += [
            _scaled(_moved(one, end, shift), ("mean_gpus",), size) | {"home": site["name"]} for one in of_site
        ]

    for end in (f"_{r}" for r in range(2, count // had + 1)):
        jobs += [_job(job, end, size_of) for job in scenario["jobs"]]
    whole = _scaled(scenario, ("carbon_budget_kg", "reward_scale_usd"), count / had)
    names = {"name": f"{scenario['name'][:35]}_{count}", "sites": sites, "regions": regions, "jobs": jobs}
    return whole | names | {
        kind: [one | {key: _with_copies(one[key], size_of)} for one in scenario[kind]]
        for kind, key in (("classes", "supported_at"), ("events", "sites"))
    }  # fmt: skip


def _moved(place: Table, end: str, shift: list[float]) -> Table:
    """Return a place under a new name at other coordinates, in no table of round trips."""
    latitude = float(np.clip(place["latitude"] + shift[0], -90.0, 90.0))
    longitude = (place["longitude"] + shift[1] + 180.0) % 360.0 - 180.0
    there = {"latitude": round(latitude, 4), "longitude": round(longitude, 4), "rtt_key": None}
    return place | there | {"name": place["name"] + end}


def _scaled(table: Table, keys: tuple[str, ...], factor: float) -> Table:
    return table | {key: round(table[key] * factor, 12) for key in keys if table[key] is not None}


def _job(job: Table, end: str, size_of: dict[str, float]) -> Table:
    """Return a job at the copies of its sites, as large as they are: the smallest must hold it."""
    sites = job["sites"] and [name + end for name in job["sites"]]
    factor = min(size_of[name] for name in sites) if sites else 1.0
    return _scaled(job, ("gpus", "value_usd"), factor) | {"name": job["name"] + end, "sites": sites}


def _with_copies(names: list[str] | None, copies: dict[str, float]) -> list[str] | None:
    return names and [*names, *(copy for copy in copies if copy.rsplit("_", 1)[0] in names)]
