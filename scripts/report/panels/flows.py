"""How much work each region sends to each site, and means of a site's columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from scripts.report.data.look import policy_label
from scripts.report.data.numbers import number, percent
from scripts.report.data.parts import PlainTable
from scripts.report.data.run_folders import Floats
from scripts.report.panels.episodes import EpisodeTables


def home_of(regions: list[dict[str, Any]], sites: list[dict[str, Any]]) -> np.ndarray:
    """Whether a site is a region's home, [C,K]."""
    return np.array([[site["name"] == region["home"] for site in sites] for region in regions])


def mean_flows(episodes: EpisodeTables, policy: str) -> Floats:
    """Work that each region sends to each site, [C,K] GPU-h per day, mean over the seeds."""
    scenario = episodes.run.scenario
    return np.array(
        [
            [
                np.mean(
                    [
                        episodes.column(
                            policy, seed, f"routed_gpuh/{region['name']} to {site['name']}"
                        ).mean()
                        for seed in episodes.seeds
                    ]
                )
                for site in scenario["sites"]
            ]
            for region in scenario["regions"]
        ]
    ) * (24.0 / episodes.dt_h)


def site_means(episodes: EpisodeTables, policy: str, column: str) -> list[float]:
    """Mean of a column over steps and seeds, per site."""
    return [
        float(np.mean([episodes.column(policy, seed, f"{column}/{site}").mean() for seed in episodes.seeds]))
        for site in episodes.sites
    ]


def capacity_gpus(episodes: EpisodeTables) -> list[float]:
    """GPUs of each site in the first episode, at their most."""
    policy, seed = episodes.policies[0], episodes.seeds[0]
    return [float(episodes.column(policy, seed, f"available_gpus/{site}").max()) for site in episodes.sites]


def flow_table(
    regions: list[dict[str, Any]],
    sites: list[dict[str, Any]],
    away: dict[str, Floats],
    flows: dict[str, Floats],
) -> PlainTable:
    """Moved work per day by policy, and into which sites it goes."""
    rows = [
        (
            policy_label(policy),
            number(float(flow.sum())),
            percent(float(flow.sum() / flows[policy].sum())) if flows[policy].sum() > 0 else "–",
            *(number(float(flow[:, k].sum())) for k in range(len(sites))),
        )
        for policy, flow in away.items()
    ]
    names = [f"to {site['name'].replace('_', ' ')}" for site in sites]
    return PlainTable(("policy", "moved, GPU-h/day", "share of served", *names), rows)
