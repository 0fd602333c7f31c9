"""What the optimum minimises: benefit lost, cost or emissions; and the weights that keep last resorts the last."""

from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

from gridai_env.episodes.instance import Instance
from gridai_env.episodes.last_resorts import highest_line_usd_per_mwh
from gridai_env.world import physics
from gridai_env.world.state import Flows, Outcome, Params
from gridai_env.world.terms import EARNINGS

Objective = Literal["benefit", "cost", "carbon"]
OBJECTIVES: tuple[Objective, ...] = ("benefit", "cost", "carbon")


# What a unit of a last resort must cost over what it could save at most.
RESORT_MARGIN = 10.0


@dataclass(frozen=True)
class LastResorts:
    """What last resorts cost on top in `cost` (USD) and `carbon` (kg), per MWh, so that they stay the last.

    Under a service floor the prices that are part of the terms may be worth paying.  The weights form a hierarchy: a
    MWh missing in the battery at the end costs more than any MWh can save; load shed costs more than all battery
    energy that it could free, at whatever site; accelerators taken from a job cost more than the load so freed.
    """

    battery_short: float
    shed: float
    gpu_short: float

    def total(self, p: Params, flows: Flows) -> Any:
        """Return the weight of a step's last resorts, in the unit of the objective."""
        short_mwh = p.dt_h * flows.gpu_short * p.busy_kw_per_gpu / 1000.0
        return (
            self.battery_short * flows.battery_short_mwh
            + self.shed * p.dt_h * flows.shed_mw
            + self.gpu_short * short_mwh
        ).sum(-1)


def last_resorts(instance: Instance, objective: Objective) -> LastResorts:
    """Return the weights of the last resorts in `cost` and `carbon`; see `LastResorts`."""
    if objective == "benefit":
        return LastResorts(0.0, 0.0, 0.0)
    p, exo = instance.params, instance.exogenous
    work_mwh = physics.work_power_mw_per_gpuh(p, exo) * p.dt_h
    # A MWh here may replace that many at a less efficient site, or in other power modes.
    extra_kw = p.busy_kw_per_gpu - p.idle_kw_per_gpu
    saved = p.saving_kw_per_busy_gpu / extra_kw
    least, most = work_mwh * (1.0 - saved.max(0, initial=0.0)), work_mwh * (1.0 - saved.min(0, initial=0.0))
    spread = float(most.max() / least.min())
    kg = max(
        float(physics.billed_carbon_kg_per_mwh(p, exo).max()), float(p.generator_carbon_kg_per_mwh.max()), 1.0
    )

    # The most that a MWh can save, in the unit of the objective.
    dearest = kg
    if objective == "cost":
        excess = float(p.carbon_excess_usd_per_kg) if p.has_carbon_budget else 0.0
        energy = max(float(exo.buy_usd_per_mwh.max()), float(p.fuel_usd_per_mwh.max()), 1.0)
        peak = float(p.demand_charge_usd_per_mw.max()) / p.dt_h
        line = float(highest_line_usd_per_mwh(exo.map(itemgetter(None)))[0])
        dearest = energy + kg * (p.carbon_price_usd_per_kg + excess) + peak + line

    step = RESORT_MARGIN * spread
    battery_short = 3.0 * spread * dearest
    return LastResorts(battery_short, battery_short * step, 3.0 * battery_short * step * step)


def resort_weight(instance: Instance, objective: Objective, flows: Flows) -> float:
    """Return the weight of an episode's last resorts in `cost` (USD) or `carbon` (kg); 0 in `benefit`."""
    return float(last_resorts(instance, objective).total(instance.params, flows).sum())


def goal(p: Params, flows: Flows, outcome: Outcome, objective: Objective, resorts: LastResorts) -> Any:
    """Return what one step adds to the minimised objective: minus benefit [USD], cost [USD] or billed emissions [kg].

    `cost` and `carbon` carry the weights of `last_resorts`, which are part of what is reported.
    """
    if objective == "benefit":
        return -outcome.benefit_usd
    extra = resorts.total(p, flows)
    if objective == "cost":
        return -sum(value for name, value in outcome.terms_usd.items() if name not in EARNINGS) + extra
    return physics.billed_kg(p, outcome) + extra
