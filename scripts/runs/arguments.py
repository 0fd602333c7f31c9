"""The arguments by which commands choose a scenario and its episodes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from copy import copy
from typing import Any

from gridai_env.episodes.instance import Instance, InstanceBatch, make_batch
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario, scenario_names
from gridai_env.traces import TraceTable, read_table

OVERRIDES = ("traces", "demand", "horizon_h", "forecast", "latency_scale", "carbon_price_usd_per_t")


def add_scenario_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--scenario`` and what changes it."""
    names = ", ".join(scenario_names())
    parser.add_argument("--scenario", required=True, help=f"a YAML file or one of {names}")
    parser.add_argument(
        "--traces", help="a trace file (CSV or Parquet) or 'synthetic'; default: the scenario's own"
    )
    parser.add_argument(
        "--demand",
        metavar="FILE[,KEY=VALUE...]",
        help="a file of requests or rates whose shape demand follows, with keys of the scenario's demand table "
        "(model=m-large,repeat=true), or 'synthetic'; default: the scenario's own",
    )
    parser.add_argument(
        "--start", help="start of the episodes, UTC, e.g. 2023-07-01T00:00; default: the seed draws it"
    )
    parser.add_argument("--horizon-h", type=float, help="length of an episode in hours")
    parser.add_argument("--forecast", help="perfect, persistence or day_ahead")
    parser.add_argument("--latency-scale", type=float, help="factor on all latency budgets")
    parser.add_argument("--carbon-price-usd-per-t", type=float, help="price of emissions")


class InstancesBySeed:
    """Instances of the chosen scenario, by seed; a trace file is read once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Load the scenario; raises ScenarioError or TraceError."""
        overrides: dict[str, Any] = {name: getattr(arguments, name) for name in OVERRIDES}
        self.compiled: Compiled = compile_scenario(load_scenario(arguments.scenario, **overrides))
        self._start: str | None = arguments.start
        traces = self.compiled.traces
        self._table: TraceTable | None = None if traces == "synthetic" else read_table(traces)

    def make(self, seed: int) -> Instance:
        """The instance of a seed."""
        return self.batch([seed])[0]

    def with_carbon_budget(self, budget_kg: float | None) -> InstancesBySeed:
        """The same episodes under another carbon budget (of the whole episode, kg); None: without one."""
        out = copy(self)
        out.compiled = compile_scenario(
            self.compiled.scenario.model_copy(update={"carbon_budget_kg": budget_kg})
        )
        return out

    def batch(self, seeds: Sequence[int]) -> InstanceBatch:
        """The instances of some seeds."""
        return make_batch(self.compiled, seeds, self._table, self._start)


def sources(instance: Instance) -> list[str]:
    """Lines that say where prices, carbon and weather of an instance came from."""
    zones = ", ".join(f"{site.name} = {site.zone}" for site in instance.scenario.sites)
    lines = [f"zones: {zones}", f"traces: {instance.scenario.traces}"]
    return lines + [f"  {name}: {text}" for name, text in instance.provenance.items()]
