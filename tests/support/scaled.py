"""Scenarios a factor larger or smaller in all that has a size: the same world in other units."""

from __future__ import annotations

from typing import Any

from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.scenario.load import parse_scenario

# Keys of a scenario that grow with it; all others are prices, shares, times and distances.
EXTENSIVE = {
    "gpus",
    "mean_gpus",
    "capacity_mwh",
    "power_mw",
    "capacity_mw",
    "min_load_mw",
    "ramp_mw_per_h",
    "initial_mw",
    "import_limit_mw",
    "export_limit_mw",
    "base_load_mw",
    "pv_mw",
    "wind_mw",
    "mw",
    "commitment_mw",
    "value_usd",
    "carbon_budget_kg",
    "reward_scale_usd",
}


def scaled_node(node: Any, factor: float) -> Any:
    """Return a node of a scenario with all that has a size multiplied."""
    if isinstance(node, list):
        return [scaled_node(entry, factor) for entry in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value * factor if key in EXTENSIVE and value is not None else scaled_node(value, factor)
        for key, value in node.items()
    }


def scaled(keys: dict[str, Any], factor: float, seed: int = 0) -> Instance:
    """Return an episode of the scenario with these keys, ``factor`` times its size."""
    return make_instance(parse_scenario(scaled_node(keys, factor), "scaled"), seed=seed)
