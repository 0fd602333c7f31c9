"""Where a move breaks even (volume, price spread, payload, dwell time), returns of routes, and both by class.

The net benefit itself is in `gridai_env.netbenefit`.

Shapes: T steps, C regions, W rows, K sites, n classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridai_env.instance import Instance
from gridai_env.netbenefit import Assumptions, NetBenefit, net_benefit

__all__ = [
    "Assumptions",
    "BreakEvens",
    "NetBenefit",
    "break_even_rows",
    "break_evens",
    "class_means",
    "net_benefit",
    "route_returns",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BreakEvens:
    """Where the net benefit is 0, each with all else as it is; shapes of the `NetBenefit`.

    ``volume_gpuh``, ``volume_requests``, ``dwell_h``: work that must run at the site, and hours for which it must
    stay, before the friction of moving *one accelerator's* work is paid; infinite where running there saves
    nothing, so that no volume pays; 0 where there is no friction.
    ``spread_usd_per_mwh``: by how much the price of electricity at home must lie above that at the site (present
    price of the site); negative where a move would pay even against the price.
    ``payload_gb_per_gpuh``, ``payload_gb_per_request``: the largest payload with which a move pays; infinite where
    data cost nothing, NaN where it pays with none.
    """

    volume_gpuh: Floats
    volume_requests: Floats
    spread_usd_per_mwh: Floats
    payload_gb_per_gpuh: Floats
    payload_gb_per_request: Floats
    dwell_h: Floats


def break_evens(benefit: NetBenefit) -> BreakEvens:
    """Return volume, price spread, payload and dwell time at which a move breaks even."""
    margin = benefit.saved_usd_per_gpuh - benefit.running_usd_per_gpuh
    pays = margin > 0.0
    never = np.where(np.isnan(margin), np.nan, np.inf)
    volume = np.where(pays, benefit.placing_usd_per_gpu / np.where(pays, margin, 1.0), never)
    needed = benefit.total_usd_per_gpuh / benefit.home_mwh_per_gpuh
    spread = benefit.home_usd_per_mwh - benefit.site_usd_per_mwh - needed
    without = benefit.total_usd_per_gpuh + benefit.egress_usd_per_gpuh + benefit.transfer_usd_per_gpuh
    costs = benefit.payload_usd_per_gb > 0.0
    payload = np.where(costs, without / np.where(costs, benefit.payload_usd_per_gb, 1.0), np.inf)
    payload = np.where(without >= 0.0, payload, np.nan)
    return BreakEvens(
        volume_gpuh=volume,
        volume_requests=volume / benefit.gpuh_per_request,
        spread_usd_per_mwh=spread,
        payload_gb_per_gpuh=payload,
        payload_gb_per_request=payload * benefit.gpuh_per_request,
        dwell_h=volume.copy(),  # one accelerator does one GPU-h in an hour
    )


def route_returns(benefit: NetBenefit) -> tuple[Floats, Floats]:
    """Return ERL (USD per GPU-h and ms) and CRL (kg per GPU-h and ms) of each route, in the shape of ``benefit``.

    Energy (carbon) saved over the extra path latency (arXiv 2604.27855, per-task returns); NaN where the site is
    not farther than home.
    """
    farther = benefit.extra_path_ms > 0.0
    extra_ms = np.where(farther, benefit.extra_path_ms, np.nan)
    return benefit.energy_saved_usd_per_gpuh / extra_ms, benefit.carbon_saved_kg_per_gpuh / extra_ms


# By class -------------------------------------------------------------------------------------------------------


def class_means(instance: Instance, values: Floats) -> Floats:
    """Mean [n,C,K] of ``values`` [T,C,W,K] over steps and rows of each class, weighted by arrived work.

    NaN where nothing of a class arrived in a region.
    """
    compiled, arrived = instance.compiled, instance.exogenous.arrivals_gpuh
    of_class = (compiled.row_class == np.arange(len(compiled.class_names))[:, None]).astype(float)
    weight = np.einsum("nw,tcw->nc", of_class, arrived)
    total = np.einsum("nw,tcw,tcwk->nck", of_class, arrived, values, optimize=True)
    return (
        np.where(weight > 0.0, 1.0, np.nan)[..., None]
        * total
        / np.where(weight > 0.0, weight, 1.0)[..., None]
    )


def break_even_rows(instance: Instance, assumptions: Assumptions | None = None) -> list[dict[str, Any]]:
    """Return the rows of ``breakeven.csv``: a class, a region and a site other than its home in each.

    Parts are means over the arrived work; break-evens are those of the mean.  ``open_share`` is the share of the
    work for which the route is open, ``positive_share`` that in whose step the net benefit is positive, open or
    not.
    """
    compiled = instance.compiled
    full = net_benefit(instance, assumptions)
    mean = full.map(lambda x: class_means(instance, x))
    even = break_evens(mean)
    erl, crl = route_returns(mean)
    shape = full.energy_saved_usd_per_gpuh.shape
    open_share = class_means(instance, np.broadcast_to(instance.params.route_open, shape))
    positive = class_means(instance, (full.total_usd_per_gpuh > 0.0).astype(float))
    columns = {
        "net_benefit_usd_per_gpuh": mean.total_usd_per_gpuh,
        **{name: getattr(mean, name) for name in NetBenefit.names()[:9]},
        "open_share": open_share,
        "positive_share": positive,
        "erl_usd_per_gpuh_ms": erl,
        "crl_kg_per_gpuh_ms": crl,
        **{f"break_even_{name}": value for name, value in vars(even).items()},
    }
    away = np.argwhere(np.broadcast_to(instance.params.home == 0.0, open_share.shape))
    return [
        {
            "class": compiled.class_names[n],
            "region": compiled.region_names[c],
            "site": compiled.site_names[k],
            **{name: float(value[n, c, k]) for name, value in columns.items()},
        }
        for n, c, k in away
    ]
