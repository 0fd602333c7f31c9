"""What a step needs besides actions, by name: sizes of states and instances, constants of the scenario.

A kernel of the step takes all of it as inputs (see `envs.torch.step_trace`), a traced step takes most of it so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridai_env.observation.layout import ObservationLayout
from gridai_env.observation.parts import PART_FUNCTIONS, prepared_runs
from gridai_env.world.state import INSTANCE_FIELDS, SWITCHES, Params, Shape

ROW = "row_"  # names of rows of the ring begin so
SHAPES = dict[str, tuple[int, ...]]


def state_shapes(s: Shape) -> SHAPES:
    """Return the shapes of the fields of `State`, without the batch axis."""
    return {
        "backlog_gpuh": (s.regions, s.rows),
        "battery_mwh": (s.sites,),
        "placed_gpuh": (s.regions, s.rows, s.sites),
        "generation_mw": (s.sites,),
        "committed_gpus": (s.sites, s.job_steps),
        "waiting": (s.jobs,),
        "peak_import_mw": (s.sites,),
        "carbon_kg": (),
        "baseline_sum_mw": (s.sites, s.day_steps),
        "day_before_mw": (s.sites, s.day_steps),
    }


def instance_shapes(s: Shape) -> SHAPES:
    """Return the shapes of the fields of `Params` that belong to instances, without the batch axis."""
    return {
        "job_gpus": (s.jobs,),
        "job_profile": (s.jobs, s.job_steps),
        "job_value_usd": (s.jobs,),
        "shed_usd_per_mwh": (s.sites,),
        "gpu_short_usd_per_gpuh": (s.sites,),
    }


def row_names(layout: ObservationLayout) -> list[str]:
    """Return names of the rows of the ring that a step reads: the one after it, its own, then those before it.

    Observations look at one before their own, and at arrivals as far back as work may wait.
    """
    return [f"{ROW}{i}" for i in range(1 + max(2, layout.compiled.shape.wait_steps))]


def constants_of(p: Params, layout: ObservationLayout) -> dict[str, NDArray[Any]]:
    """Return the numbers of a scenario, and of how it is shown, by the names that kernels give them."""
    found: dict[str, NDArray[Any]] = {
        f"params_{name}": np.asarray(getattr(p, name), dtype=np.float64)
        for name in Params.names()
        if name not in (*INSTANCE_FIELDS, *SWITCHES)
    }
    found["steps"] = np.array(float(layout.compiled.shape.steps))
    scales = layout.inverse_scales
    found |= {f"inverse_{name}": x for name, x in scales.items() if name not in PART_FUNCTIONS}

    parts = [layout.by_name[name] for run in prepared_runs(layout.parts) for name in run]
    found["offset"] = np.concatenate([np.full(part.size, part.offset) for part in parts])
    found["scale"] = np.concatenate([scales[part.name] for part in parts]).astype(np.float32)
    return found


def open_routes(p: Params) -> NDArray[np.int32]:
    """Return where the open routes of each region and row begin in this array, and where those of the last end.

    There stand the first site of each run of open routes, and the site after its last.
    """
    padded = np.pad(np.asarray(p.route_open).reshape(-1, p.route_open.shape[-1]) > 0.0, ((0, 0), (1, 1)))
    row, ends = np.nonzero(padded[:, 1:] != padded[:, :-1])  # begin and end in turn
    begins = np.searchsorted(row, np.arange(len(padded) + 1)) + len(padded) + 1
    return np.concatenate([begins, ends]).astype(np.int32)
