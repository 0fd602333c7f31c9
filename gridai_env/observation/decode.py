"""Decode observations: from their numbers to the parts in units, and to the records of the physics.

`parts_in_units` and `job_features` serve NumPy arrays and tensors alike.  Shape letters as in
`gridai_env.observation.layout`; batch axes lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from gridai_env.arrays.types import Array, Float, Floats
from gridai_env.episodes.demand import session_growth
from gridai_env.world.state import OPTIONAL, Exogenous, Params, Shape, State, exogenous_shapes

if TYPE_CHECKING:
    from gridai_env.observation.layout import ObservationLayout

# Of a job slot; behind them stands, for each site, whether the job may be started there.
JOB_FEATURES = ("present", "gpus", "duration", "slack", "value")

# Names of the parts in units, where they do not follow from the name.
FIELDS = {
    "arrivals": "arrivals_gpuh",
    "available_gpus": "available_gpus",
    "baseline_counts": "baseline_counts",
    "baseline_share": "baseline_share",
    "baseline_sum": "baseline_sum_mw",
    "battery": "battery_mwh",
    "battery_target": "battery_target_mwh",
    "buy_price": "buy_usd_per_mwh",
    "carbon_average": "carbon_average_kg_per_mwh",
    "carbon_marginal": "carbon_marginal_kg_per_mwh",
    "clock": "clock",
    "committed": "committed_mw",
    "day_before": "day_before_mw",
    "export_limit": "export_limit_mw",
    "forecast_arrivals": "forecast_arrivals_gpuh",
    "forecast_available_gpus": "forecast_available_gpus",  # the limits only where events may reduce them
    "forecast_buy_price": "forecast_buy_usd_per_mwh",
    "forecast_call": "forecast_call",
    "forecast_carbon": "forecast_carbon_kg_per_mwh",
    "forecast_clean": "forecast_clean_mw",
    "forecast_export_limit": "forecast_export_limit_mw",
    "forecast_import_limit": "forecast_import_limit_mw",
    "forecast_renewable": "forecast_renewable_mw",
    "generation": "generation_mw",
    "generator_open": "generator_open",
    "import_limit": "import_limit_mw",
    "line": "line_mw",
    "line_price": "line_usd_per_mwh",
    "open_routes": "route_open",
    "peak_import": "peak_import_mw",
    "pue": "pue",
    "renewable": "renewable_available_mw",
    "response_price": "response_usd_per_mwh",
    "sell_price": "sell_usd_per_mwh",
}


def parts_in_units(
    layout: ObservationLayout,
    flat: Float[Array, "*batch N"],
    scale: Float[Array, " N"],
    offset: Float[Array, " N"],
    names: Iterable[str] | None = None,
) -> dict[str, Array]:
    """Return the parts of a flat observation in units, each in its own shape; ``names`` None: all of them.

    ``scale`` and ``offset`` are those of the layout, of the same type and on the same device as ``flat``.
    """
    parts, lead = layout.as_dict(flat * scale + offset), flat.shape[:-1]
    return {
        name: parts[name].reshape((*lead, *layout.by_name[name].shape))
        for name in (parts if names is None else names)
    }


def job_features(jobs: Float[Array, "*batch V F"]) -> dict[str, Array]:
    """Return the features of the job slots by name, [*batch,V] each, and where they are ``open`` [*batch,V,K]."""
    named = {name: jobs[..., i] for i, name in enumerate(JOB_FEATURES)}
    return named | {"open": jobs[..., len(JOB_FEATURES) :]}


def full_fields(shape: Shape, part: dict[str, Floats]) -> dict[str, Floats]:
    """Return parts in units by field name, rows and jobs filled up to their full shapes.

    What they are called and what stands where a scenario lacks a part: see `ObservationLayout.physical`.
    """
    lead, sessions = part["pue"].shape[:-1], shape.session_rows
    full = {field: part[name] for name, field in FIELDS.items() if name in part}

    # Sessions have no backlog and are due at once; rows that wait have no placement.
    arrivals = full["arrivals_gpuh"]
    full["arrivals_before_gpuh"] = np.zeros_like(arrivals)
    full["backlog_gpuh"] = np.zeros_like(arrivals)
    full["placed_gpuh"] = np.zeros((*arrivals.shape, shape.sites))
    full["due_gpuh"] = np.repeat(arrivals[..., None], max(shape.wait_steps, 1), axis=-1)
    if sessions > 0:
        full["arrivals_before_gpuh"][..., :sessions] = part["arrivals_before"]
        full["placed_gpuh"][..., :sessions, :] = part["placed"]
    if sessions < shape.rows:
        full["backlog_gpuh"][..., sessions:] = part["backlog"]
        full["due_gpuh"][..., sessions:, :] = part["due"]

    budget_left = part.get("carbon_budget_left")
    full["carbon_left_kg"] = np.full(lead, np.inf) if budget_left is None else budget_left[..., 0]
    full["steps_left"] = np.rint(part["steps_left"][..., 0])
    shapes = exogenous_shapes(shape) | dict.fromkeys(
        ("baseline_sum_mw", "day_before_mw"), (shape.sites, shape.day_steps)
    )
    full |= {
        name: np.zeros((*lead, *shapes[name])) for name in OPTIONAL if name in shapes and name not in full
    }
    no_jobs = np.zeros((*lead, shape.sites, shape.job_steps))
    full["committed_gpus"] = part.get("committed_gpus", no_jobs)
    return full | _jobs(part.get("jobs", np.zeros((*lead, 0, len(JOB_FEATURES) + shape.sites))))


def _jobs(slots: Floats) -> dict[str, Floats]:
    """Return the features of the job slots by field name; steps are whole numbers again."""
    job = job_features(slots)
    return {
        "job_present": job["present"],
        "job_gpus": job["gpus"],
        "job_duration_steps": np.rint(job["duration"]),
        "job_slack_steps": np.rint(job["slack"]),
        "job_value_usd": job["value"],
        "job_open": job["open"],
    }


def records(p: Params, units: Mapping[str, Floats]) -> tuple[State, Exogenous]:
    """Return the state and the exogenous input that `ObservationLayout.physical` describes; J = V job slots."""
    pair = np.stack([units["arrivals_before_gpuh"], units["arrivals_gpuh"]], axis=-3)
    growth, rehomed = session_growth(pair, p.may_wait)
    left = units["carbon_left_kg"]
    state = State(
        waiting=units["job_present"],
        carbon_kg=p.carbon_budget_kg - left if p.has_carbon_budget else np.zeros_like(left),
        **{name: units[name] for name in State.names() if name not in ("waiting", "carbon_kg")},
    )

    # Work that is not bound to leave the queue now may stay.
    on_hand = units["backlog_gpuh"] + units["arrivals_gpuh"]
    derived = {
        "queue_limit_gpuh": p.may_wait * np.maximum(on_hand - units["due_gpuh"][..., 0], 0.0),
        "growth": growth[..., 1, :, :],
        "rehomed_gpuh": rehomed[..., 1, :, :],
        "network_usd_per_mwh": np.maximum(units["buy_usd_per_mwh"], 0.0),
    }
    exogenous = Exogenous(**{name: derived.get(name, units.get(name)) for name in Exogenous.names()})
    return state, exogenous
