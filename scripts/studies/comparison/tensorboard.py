"""A comparison in TensorBoard: one run per policy, the same tags in each, so that curves overlay.

Groups are few, and in the order of their names the first things come first.  Figures of a whole episode have the tag
``episode/...`` (those looked at first), ``episode_more/...`` or ``terms/...`` and the seed as step; ``ladder/...`` are
means.  Curves have the tag ``time_series/quantity/place/seed<n>``; the step is the step of the episode (its hour, for
steps of an hour), and the axis "wall" is the hour's own date.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gridai_env.rollout.step_table import Table
from gridai_env.scenario.compile import Compiled
from scripts.runs.tensorboard import EventWriter

# Columns of the step table that are shown hour by hour.
CURVES = (
    "benefit_usd", "bill_usd", "emissions_kg", "import_mw", "export_mw", "charge_mw", "discharge_mw",
    "battery_mwh", "generation_mw", "renewable_mw", "curtailed_mw", "facility_mw", "busy_gpus",
    "buy_usd_per_mwh", "carbon_kg_per_mwh", "served_gpuh", "dropped_gpuh", "backlog_gpuh", "route_share",
)  # fmt: skip
HEADLINES = ("gain_captured", "benefit_usd", "bill_usd", "emissions_kg", "dropped_gpuh")
MORE = (
    "bound_usd", "served_share", "path_latency_mean_ms", "path_latency_p95_ms",
    "wait_mean_h", "battery_cycles", "curtailed_mwh", "gap",
)  # fmt: skip
# What is looked at first stands first; hour by hour, the sites of a policy share a chart.
LAYOUT = {
    "1 ladder": {
        "gain captured": ["ladder/gain_captured"],
        "regret and its parts": [f"ladder/{name}" for name in ("regret", "foresight", "decisions")],
    },
    "2 episodes": {name: [f"episode/{name}"] for name in HEADLINES},
    "3 hours of the first seeds": {
        name: [rf"^time_series/{name}(/.*)?/seed\d+$"]
        for name in ("benefit_usd", "import_mw", "battery_mwh", "busy_gpus", "buy_usd_per_mwh", "served_gpuh")
    },
}
LADDER = ("benefit_usd", "gain_captured", "regret", "foresight", "horizon", "forecast_error", "decisions")


def curve_tags(table: Table, compiled: Compiled, seed: int) -> dict[str, str]:
    """Return tag of each column that is shown, by the column's name."""
    never = {
        f"backlog_gpuh/{row}"
        for row, waits in zip(compiled.row_names, compiled.params.may_wait, strict=True)
        if not waits
    }
    names = table.dtype.names or ()
    shown = [name for name in names if name.split("/")[0] in CURVES and name not in never]
    return {name: f"time_series/{name.replace(' ', '_')}/seed{seed}" for name in shown}


def write_curves(writer: EventWriter, table: Table, compiled: Compiled, seed: int) -> None:
    """Write an episode (a row per step) hour by hour."""
    tags = curve_tags(table, compiled, seed)
    seconds = table["time_utc"].astype("datetime64[s]").astype(np.int64)
    for t, row in enumerate(table):
        writer.scalars({tag: float(row[name]) for name, tag in tags.items()}, t, float(seconds[t]))


def write_episode(writer: EventWriter, row: Mapping[str, Any], wall_time_s: float) -> None:
    """Write the figures of an episode from a row of ``summary.csv``."""
    values = {f"episode/{name}": float(row[name]) for name in HEADLINES}
    values |= {f"episode_more/{name}": float(row[name]) for name in MORE}
    values |= {name: float(value) for name, value in row.items() if name.startswith("terms/")}
    writer.scalars(values, int(row["seed"]), wall_time_s)


def write_rung(writer: EventWriter, record: Mapping[str, Any], episodes: int, wall_time_s: float) -> None:
    """Write a row of ``ladder.csv``; the step is the number of episodes that it is a mean of."""
    writer.scalars({f"ladder/{name}": float(record[name]) for name in LADDER}, episodes, wall_time_s)
