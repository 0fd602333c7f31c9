"""The content of a frame as plain numbers: one moment of one episode, independent of the drawing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.render.line_numbers import LineNumbers, known_calls, line_numbers, saved_mw
from gridai_env.scenario.compile import Compiled
from gridai_env.world import physics
from gridai_env.world.state import Flows, Outcome, State
from gridai_env.world.terms import TERMS


@dataclass(frozen=True)
class SiteNumbers:
    """Numbers of the sites; NaN before the first step and without the equipment."""

    buy_usd_per_mwh: Float[Floats, " K"]
    carbon_kg_per_mwh: Float[Floats, " K"]
    facility_mw: Float[Floats, " K"]
    import_mw: Float[Floats, " K"]
    export_mw: Float[Floats, " K"]
    generation_mw: Float[Floats, " K"]
    renewable_mw: Float[Floats, " K"]
    shed_mw: Float[Floats, " K"]
    battery_share: Float[Floats, " K"]  # of the energy that may be used, 0..1
    battery_mw: Float[Floats, " K"]  # charging is positive
    saved_mw: Float[Floats, " K"]  # by power modes, cooling included
    served_gpuh: Float[Floats, " K"]
    away_share: Float[Floats, " K"]  # of the served work: what came from regions with another home
    inference_share: Float[
        Floats, " K"
    ]  # accelerators busy with inference, of those in service that may be used


@dataclass(frozen=True)
class Moment:
    """One moment: after ``t`` steps, with the numbers of the last of them (at t = 0: prices of the first)."""

    instance: Instance
    t: int
    time_utc: datetime  # start of the step that is shown
    sites: SiteNumbers
    sent_gpuh: Float[Floats, "2 C K"]  # served work: rows that may not wait, rows that may
    past_buy_usd_per_mwh: Float[Floats, "t K"]  # one step where t = 0
    past_carbon_kg_per_mwh: Float[Floats, "t K"]  # likewise
    backlog_gpuh: float
    jobs_started: int
    totals: dict[str, float]
    lines: tuple[LineNumbers, ...]  # those that may be called first
    called: Bool[Bools, "T Q"]  # as far as is known
    step_terms_usd: dict[str, float] = field(default_factory=dict)  # of the last step
    step_emissions_kg: float = 0.0

    @property
    def compiled(self) -> Compiled:
        """The scenario as arrays."""
        return self.instance.compiled

    @property
    def started(self) -> bool:
        """Whether a step was done."""
        return self.t > 0

    def total(self, key: str) -> float:
        """Return a total so far; all are 0 before the first step.  Raises KeyError for an unknown key."""
        return float(self.totals[key]) if self.started else 0.0

    def terms_usd(self) -> dict[str, float]:
        """Return the ledger so far: signed USD by term, terms that are 0 left out."""
        every = {name: self.total(f"terms/{name}_usd") for name in TERMS}
        return {name: usd for name, usd in every.items() if usd != 0.0}


# Flows that are shown as they are.
FLOWS = ("import_mw", "export_mw", "generation_mw", "renewable_mw", "shed_mw")


def look(
    instance: Instance,
    t: int,
    state: State,
    flows: Flows | None,
    outcome: Outcome | None,
    totals: dict[str, float],
) -> Moment:
    """Return the moment after ``t`` steps; ``flows`` and ``outcome`` are those of the last of them.

    Both are None before the first step, and where the last step is not known.
    Raises ValueError where they do not go with ``t``.
    """
    if not 0 <= t <= instance.steps:
        raise ValueError(f"t = {t}: must be the number of steps done, 0..{instance.steps}")
    if (flows is None) != (outcome is None) or (t == 0 and flows is not None):
        raise ValueError(f"t = {t}: give flows and outcome of the step before, or neither (none at t = 0)")

    compiled, shown = instance.compiled, max(t - 1, 0)
    start: datetime = instance.start_utc.astype("datetime64[s]").item()
    exo = instance.exogenous

    called = known_calls(instance, shown)
    carbon = physics.billed_carbon_kg_per_mwh(instance.params, exo)
    emitted_kg = 0.0
    if outcome is not None:
        emitted_kg = float(physics.billed_kg(instance.params, outcome))

    return Moment(
        instance=instance,
        t=t,
        time_utc=start + timedelta(hours=shown * compiled.shape.dt_h),
        sites=_sites(instance, shown, state, flows, outcome),
        sent_gpuh=_sent_gpuh(compiled, flows),
        past_buy_usd_per_mwh=exo.buy_usd_per_mwh[: shown + 1],
        past_carbon_kg_per_mwh=carbon[: shown + 1],
        backlog_gpuh=float(np.sum(state.backlog_gpuh)),
        jobs_started=compiled.shape.jobs - round(float(np.sum(state.waiting))),
        totals=totals,
        lines=line_numbers(instance, t, state, flows, called),
        called=called,
        step_terms_usd={} if outcome is None else {n: float(x) for n, x in outcome.terms_usd.items()},
        step_emissions_kg=emitted_kg,
    )


def _sites(
    instance: Instance, shown: int, state: State, flows: Flows | None, outcome: Outcome | None
) -> SiteNumbers:
    p, exo = instance.params, instance.exogenous
    none = np.full(instance.compiled.shape.sites, np.nan)
    room_mwh = p.battery_max_mwh - p.battery_min_mwh
    battery = np.divide(state.battery_mwh - p.battery_min_mwh, room_mwh, out=none.copy(), where=room_mwh > 0)

    # Before the first step nothing flowed: NaN is drawn as a dash, 0 would be read as a measurement.
    flow = dict.fromkeys(FLOWS, none)
    battery_mw = saved = served = away = busy = none
    if flows is not None:
        flow = {name: getattr(flows, name) for name in flow}
        battery_mw = np.where(room_mwh > 0, flows.charge_mw - flows.discharge_mw, np.nan)
        if p.has_modes:
            saved = saved_mw(instance, shown, flows)
        by_region = flows.served_gpuh.sum(1)
        served = by_region.sum(0)
        home_gpuh = (by_region * p.home).sum(0)
        away = np.divide(served - home_gpuh, served, out=none.copy(), where=served > 0)
        usable = p.utilisation_limit * exo.available_gpus[shown]
        inference = physics.inference_gpus(p, flows.served_gpuh.sum(0))
        busy = np.divide(inference, usable, out=none.copy(), where=usable > 0)

    return SiteNumbers(
        buy_usd_per_mwh=exo.buy_usd_per_mwh[shown],
        carbon_kg_per_mwh=physics.billed_carbon_kg_per_mwh(p, exo)[shown],
        facility_mw=none if outcome is None else outcome.facility_mw,
        battery_share=battery,
        battery_mw=battery_mw,
        saved_mw=saved,
        served_gpuh=served,
        away_share=away,
        inference_share=busy,
        **flow,
    )


def _sent_gpuh(compiled: Compiled, flows: Flows | None) -> Float[Floats, "2 C K"]:
    """Return the served work of rows that may not wait and of rows that may."""
    shape = compiled.shape
    if flows is None:
        return np.zeros((2, shape.regions, shape.sites))
    waits = compiled.params.may_wait > 0.5
    return np.stack([flows.served_gpuh[:, ~waits].sum(1), flows.served_gpuh[:, waits].sum(1)])
