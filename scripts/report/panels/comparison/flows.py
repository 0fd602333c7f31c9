"""How much work each region sends to each site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.types import Float, Floats
from scripts.report.data.names import policy_label, words
from scripts.report.data.numbers import NOTHING, number, percent
from scripts.report.data.parts import PlainTable
from scripts.report.panels.comparison.episodes import EpisodeTables


@dataclass(frozen=True)
class WorkFlows:
    """Work by policy that each region sends to each site, GPU-h per day, mean over the seeds."""

    all: dict[str, Float[Floats, "C K"]]
    away: dict[str, Float[Floats, "C K"]]  # what is not done at home

    @property
    def most_gpuh(self) -> float:
        """The largest flow away from home of any policy."""
        return max(float(flow.max()) for flow in self.away.values())


def mean_flows(episodes: EpisodeTables) -> WorkFlows:
    """Return the flows of all policies."""
    regions, sites = episodes.run.scenario["regions"], episodes.run.scenario["sites"]
    steps_per_day = 24.0 / episodes.dt_h
    flows = {
        policy: steps_per_day
        * np.array(
            [
                [episodes.mean(policy, f"routed_gpuh/{region['name']} to {site['name']}") for site in sites]
                for region in regions
            ]
        )
        for policy in episodes.policies
    }
    is_home = np.array([[site["name"] == region["home"] for site in sites] for region in regions])
    return WorkFlows(flows, {policy: np.where(is_home, 0.0, flow) for policy, flow in flows.items()})


def flow_table(flows: WorkFlows, sites: list[str]) -> PlainTable:
    """Return the moved work per day by policy, and into which sites it goes."""
    rows = []
    for policy, away in flows.away.items():
        served, moved = float(flows.all[policy].sum()), float(away.sum())
        share = percent(moved / served) if served > 0 else NOTHING
        rows.append((policy_label(policy), number(moved), share, *map(number, away.sum(axis=0).tolist())))
    return PlainTable(
        ("policy", "moved, GPU-h/day", "share of served", *(f"to {words(site)}" for site in sites)), rows
    )
