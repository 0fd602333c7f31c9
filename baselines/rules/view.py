"""The observation in units for rules, as records of the physics; the future only as forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Index, Int, Ints
from gridai_env.observation.decode import records
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled
from gridai_env.world import physics
from gridai_env.world.feasible import start_jobs
from gridai_env.world.state import Exogenous, Params, State

# Room is planned this much (relative) short, so that float32 observations and actions do not overfill a site.
ROUNDING = 1e-6


@dataclass(frozen=True)
class View:
    """The present exactly (to float32), the future as forecast.  Leading axis B; jobs are the slots, J = V.

    A forecast is valid for the leads that lie within the episode: `valid` [B,H].
    """

    p: Params
    state: State
    exo: Exogenous
    due_gpuh: Float[
        Floats, "B C W D"
    ]  # work on hand that must leave the queue by the end of the step h ahead
    carbon_left_kg: Float[Floats, " B"]  # infinite without a budget
    steps_left: Float[Floats, " B"]  # the step to come included
    steps: int  # of the episode
    leads: Int[Index, " H"]  # steps
    forecast_buy_usd_per_mwh: Float[Floats, "B H K"]
    forecast_carbon_kg_per_mwh: Float[Floats, "B H K"]  # billed
    forecast_arrivals_gpuh: Float[Floats, "B H C"]
    job_site_rank: Int[Ints, "B V K"]  # 0: the job's preferred site; see `site_ranks`

    @property
    def on_hand_gpuh(self) -> Float[Floats, "B C W"]:
        """Work that waits or arrives."""
        return physics.work_on_hand_gpuh(self.state, self.exo)

    @property
    def valid(self) -> Bool[Bools, "B H"]:
        """Whether a lead lies within the episode."""
        return self.leads < self.steps_left[:, None]

    @property
    def excess_usd_per_mwh(self) -> Floats:
        """What a MWh above each line costs [B,L,K], lost payments included."""
        exo = self.exo
        lost = exo.response_usd_per_mwh if exo.response_usd_per_mwh.shape[-2] else 0.0
        return exo.line_usd_per_mwh + lost

    def line_usd_per_mwh(self, load_mw: Floats) -> Floats:
        """Return what a MWh more of load costs at the lines [B,K] that a load reaches."""
        reached = load_mw[..., None, :] >= physics.line_mw(self.state, self.exo)
        return np.asarray((self.excess_usd_per_mwh * reached).sum(-2))

    def room_gpuh(self, started: Floats, extra_mw: Floats | float = 0.0) -> Floats:
        """Return the work [B,K] that sites can do besides running jobs and those started now ([B,V,K]).

        Bounded by accelerators, and by import, renewables and ``extra_mw`` of own supply.
        """
        p, exo = self.p, self.exo
        committed = self.state.committed_gpus[..., 0]
        if started.shape[-2]:
            committed = committed + (started * p.job_gpus[..., None]).sum(-2)
        by_gpus = (p.utilisation_limit * exo.available_gpus - committed) * p.speed * p.dt_h
        base_mw = physics.facility_power_mw(p, exo, physics.it_power_mw(p, exo, committed))
        limit_mw = exo.import_limit_mw
        if p.has_lines:
            # No work is worth as much as import above a line like this.
            worth = np.max(p.revenue_usd_per_gpuh + p.drop_usd_per_gpuh)
            mwh_per_gpuh = physics.work_power_mw_per_gpuh(p, exo)[..., None, :] * p.dt_h
            dear = self.excess_usd_per_mwh * mwh_per_gpuh > worth
            line_mw = np.where(dear, physics.line_mw(self.state, exo), np.inf).min(-2)
            limit_mw = np.clip(line_mw, 0.0, limit_mw)
        spare_mw = limit_mw + exo.renewable_available_mw + extra_mw - base_mw
        by_power = spare_mw / physics.work_power_mw_per_gpuh(p, exo)
        return np.maximum(np.minimum(by_gpus, by_power), 0.0) * (1.0 - ROUNDING)

    def starts(self, job_score: Floats) -> Floats:
        """Return the jobs [B,V,K] that the environment will start for these scores [B,V,K+1]."""
        return start_jobs(self.p, self.state, self.exo, job_score)


def read_view(layout: ObservationLayout, compiled: Compiled, observation: Mapping[str, Any]) -> View:
    """Return the view in a batch of observations (arrays [B,n])."""
    exact = layout.physical(observation)
    state, exo = records(compiled.params, exact)
    shape = compiled.shape

    # Jobs are the slots: each shows one that waits, or none.
    running = np.arange(shape.job_steps) < exact["job_duration_steps"][..., None] - 0.5
    params = compiled.params.replace(
        job_gpus=exact["job_gpus"], job_profile=running.astype(float), job_value_usd=exact["job_value_usd"]
    )
    named = ("due_gpuh", "carbon_left_kg", "forecast_buy_usd_per_mwh", "forecast_carbon_kg_per_mwh")
    return View(
        p=params,
        state=state,
        exo=exo,
        **{name: exact[name] for name in (*named, "forecast_arrivals_gpuh")},
        steps_left=np.round(exact["steps_left"]),
        steps=shape.steps,
        leads=np.array(compiled.forecast.lead_steps, dtype=np.intp),
        job_site_rank=site_ranks(compiled, exact),
    )


def site_ranks(compiled: Compiled, units: Mapping[str, Floats]) -> Int[Ints, "B V K"]:
    """Return each site's place in the own list of the job in a slot, 0 the preferred.

    ``units``: see `ObservationLayout.physical`.  A slot does not name its job.  It is the job of the scenario that
    shares most of: allowed sites, duration, value per accelerator, and size and latest start within their jitter; of
    several, the first in the scenario.  A drawn job shares all five with its own entry, so only jobs alike in all of
    them can be mistaken for each other.
    """
    if compiled.shape.jobs == 0:
        return np.zeros(units["job_open"].shape, dtype=np.int64)

    # Empty slots count as one accelerator, to avoid division by 0; their rank is not used.
    gpus = np.where(units["job_present"] > 0.5, units["job_gpus"], 1.0)
    step = compiled.shape.steps - np.round(units["steps_left"])[..., None]
    latest = compiled.job_deadline_steps - compiled.job_duration_steps
    worth = compiled.job_value_usd / compiled.job_gpus

    shared = [
        ((units["job_open"] > 0.5)[..., None, :] == compiled.job_allowed).all(-1),
        units["job_duration_steps"][..., None] == compiled.job_duration_steps,
        np.isclose((units["job_value_usd"] / gpus)[..., None], worth, rtol=ROUNDING),
        np.abs(gpus[..., None] / compiled.job_gpus - 1.0) <= compiled.job_size_jitter + ROUNDING,
        np.abs((step + units["job_slack_steps"])[..., None] - latest) <= compiled.job_jitter_steps,
    ]
    return compiled.job_site_rank[np.sum(shared, axis=0).argmax(-1)]
