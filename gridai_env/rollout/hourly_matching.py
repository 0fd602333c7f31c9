"""How clean a load is hour by hour: matching with contracted clean generation, and its emissions.

The score is that of 24/7 carbon-free energy (Google, *24/7 Carbon-Free Energy: Methodologies and Metrics*, 2021):
``CFE = sum_h [min(c_h, l_h) + (l_h - min(c_h, l_h)) g_h] / sum_h l_h``, with contracted clean energy c of the same
grid, load l and the clean share g of the grid's mix.  No surplus is carried to another hour or another site.

The load is what is imported: renewables and batteries behind the meter have lowered it.  Arrays are of hours or steps,
of one site [T] or of several [T,K].
"""

from __future__ import annotations

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.rollout.played import PlayedEpisode


def hourly_matching(episode: PlayedEpisode) -> dict[str, float]:
    """Return scores and emissions of each site with a contract (``/site``) and of all sites; {} without contracts.

    ``cfe_score``: contracted energy alone (g = 0); of all sites, those without a contract count as not matched.
    ``cfe_score_with_grid``: with the grid's clean share, only where it is given at every site that counts.
    ``location_based_kg``: import at the average intensity of the zone.  ``market_based_kg``: what is not matched in its
    hour, at the residual factor of the site, else at the marginal intensity of the zone.
    """
    instance = episode.instance
    compiled, exo, dt_h = instance.compiled, instance.exogenous, instance.params.dt_h
    if not (rules := compiled.lines.matching):
        return {}

    # Plans of a solver may be below 0 by rounding.
    load_mwh = dt_h * np.maximum(episode.flows.import_mw, 0.0)
    contracted_mwh = np.zeros_like(load_mwh)
    for rule in rules:
        contracted_mwh[:, rule.site] += dt_h * exo.line_mw[:, rule.slot, rule.site]
    given = compiled.sites.residual_kg_per_mwh
    residual_kg_per_mwh = np.where(np.isnan(given), exo.carbon_marginal_kg_per_mwh, given)

    places = {f"/{compiled.site_names[k]}": [k] for k in dict.fromkeys(rule.site for rule in rules)}
    out: dict[str, float] = {}
    for place, own in {**places, "": list(range(len(given)))}.items():
        load, contracted, share = load_mwh[:, own], contracted_mwh[:, own], compiled.sites.clean_share[own]
        out[f"cfe_score{place}"] = cfe_score(load, contracted)
        if not np.isnan(share).any():
            out[f"cfe_score_with_grid{place}"] = cfe_score(load, contracted, share)
        out[f"location_based_kg{place}"] = location_based_kg(load, exo.carbon_average_kg_per_mwh[:, own])
        out[f"market_based_kg{place}"] = market_based_kg(load, contracted, residual_kg_per_mwh[:, own])
    return out


def unmatched_mwh(load_mwh: Float[Floats, " *hours"], contracted_mwh: Float[Floats, " *hours"]) -> Floats:
    """Return the load of each hour that its contracts do not match; ValueError for energy below 0."""
    for name, values in (("load_mwh", load_mwh), ("contracted_mwh", contracted_mwh)):
        if not (values >= 0.0).all():
            raise ValueError(f"{name}: must be at least 0 in every hour, found {np.min(values):g} [MWh]")
    return np.maximum(0.0, load_mwh - contracted_mwh)


def cfe_score(
    load_mwh: Float[Floats, " *hours"],
    contracted_mwh: Float[Floats, " *hours"],
    grid_clean_share: float | Floats = 0.0,
) -> float:
    """Return the share of a load that is clean in its own hour; NaN without load, ValueError for energy below 0.

    ``grid_clean_share`` is a number, or an array that broadcasts against the load; 0: contracted energy alone.
    """
    unclean_mwh = unmatched_mwh(load_mwh, contracted_mwh) * (1.0 - grid_clean_share)
    total = float(load_mwh.sum())
    return 1.0 - float(unclean_mwh.sum()) / total if total > 0.0 else float("nan")


def location_based_kg(load_mwh: Float[Floats, " *hours"], grid_kg_per_mwh: float | Floats) -> float:
    """Return emissions by the grid's factors, whatever is contracted (GHG Protocol, scope 2)."""
    return float((load_mwh * grid_kg_per_mwh).sum())


def market_based_kg(
    load_mwh: Float[Floats, " *hours"],
    contracted_mwh: Float[Floats, " *hours"],
    residual_kg_per_mwh: float | Floats,
) -> float:
    """Return emissions with matching by the hour: 0 for matched energy, the residual mix's factor for the rest.

    As in the draft of the GHG Protocol's scope 2 of October 2025.
    """
    return float((unmatched_mwh(load_mwh, contracted_mwh) * residual_kg_per_mwh).sum())
