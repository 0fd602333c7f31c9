"""A made-up day with one line that is called at given hours: the load and the calls are given, the line follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gridai_env.episodes.instance import Instance
from gridai_env.episodes.lines import line_fields
from tests.support.tiny import set_exogenous, tiny

SITE: dict[str, Any] = {"idle_kw_per_gpu": 0.0, "busy_kw_per_gpu": 1.0, "pue_base": 1.0, "gpus": 200_000.0}
LIMIT_MW = 200.0


def called_day(
    line: dict[str, Any], called_hours: list[int], load_mw: Any, wait_h: float = 0.0, **site: Any
) -> Instance:
    """Return a day of 24 hours with a load [MW] that is all work, at 40 USD/MWh; ``wait_h``: how long it may wait."""
    line = {"name": "line", "calls": {"start_h": [0.0, 0.0], "duration_h": [1.0, 1.0]}, **line}
    grid = {"import_limit_mw": LIMIT_MW}
    world = tiny(
        steps=24, sites=({**SITE, "grid": grid, "lines": [line], **site},), classes=({"wait_h": wait_h},)
    )
    arrivals = 1000.0 * np.broadcast_to(np.asarray(load_mw, dtype=float), 24)[:, None, None]
    world = set_exogenous(world, {"arrivals_gpuh": arrivals, "buy_usd_per_mwh": 40.0})

    depth = np.isin(np.arange(24), called_hours).astype(float)[:, None]
    exo = world.exogenous
    most = np.full_like(exo.import_limit_mw, LIMIT_MW)
    prices = {"buy_usd_per_mwh": exo.buy_usd_per_mwh[None], "import_limit_mw": most[None]}
    fields = line_fields(world.compiled, depth[None], np.zeros((1, 24, 0)), prices, None)
    known = np.where(depth > 0.0, np.arange(24)[:, None], 24)
    return replace(
        world,
        exogenous=exo.replace(**{name: values[0] for name, values in fields.items()}),
        knowledge=world.knowledge.replace(call_depth=depth, call_known_from=known),
    )
