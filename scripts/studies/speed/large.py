"""Certified gaps of very large programs: four_markets with more sites, what `scripts.benchmark --large` measures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.scenario.load import load_scenario, parse_scenario
from scripts.studies.enlarged import enlarged
from scripts.studies.speed.measure import Figure


@dataclass(frozen=True)
class Large:
    """An episode of many sites, and how far its optimum is proven at most, and how long that may take."""

    sites: int
    horizon_h: float
    gap: float = 1e-2
    time_limit_s: float = 600.0

    @property
    def name(self) -> str:
        """What the figure is called."""
        return f"four_markets with {self.sites} sites, {self.horizon_h:g} h, certified gap"

    def instance(self, seed: int) -> Instance:
        """Return the episode; the sites are those of `scripts.maintenance.enlarge` with seed 0."""
        tables = enlarged(load_scenario("four_markets").model_dump(mode="json"), self.sites, 0)
        scenario = parse_scenario(tables, f"four_markets with {self.sites} sites")
        return make_instance(scenario, seed=seed, horizon_h=self.horizon_h)


LARGE = (Large(20, 168.0), Large(50, 24.0))


def large_optima(seed: int, threads: int, which: tuple[Large, ...] = LARGE) -> Iterator[Figure]:
    """Yield the proven distance between plan and bound of each, in per cent of the plan."""
    from baselines.optimum.milp import solve

    for large in which:
        plan = solve(
            large.instance(seed), mip_gap=large.gap, time_limit_s=large.time_limit_s, threads=threads
        )
        found = "no plan" if plan.objective_value is None else f"plan {plan.objective_value:,.0f} USD"
        note = (
            f"{found}, bound {plan.bound:,.0f} USD (asked {100 * large.gap:g} %: {plan.status}), {plan.rows:,} rows, "
            f"{plan.columns:,} columns, in {plan.build_s + plan.solve_s:.0f} s with {threads} processes; seed {seed}; "
            f"load of the machine then {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )
        yield Figure(large.name, None if plan.objective_value is None else 100 * plan.gap, "%", note)
