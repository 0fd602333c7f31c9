"""Step tables of a comparison, loaded once: which policies and seeds are shown, and their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scripts.report.data.look import LEARNED, OPTIMUM, knows_future, policy_label, rounded
from scripts.report.data.run_folders import Floats, RunFolder, Table

# Hourly data of so many seeds stand in the page; the ladder is made of all of them.
SHOWN_SEEDS = 5


@dataclass(frozen=True)
class EpisodeTables:
    """Tables by policy and seed, for the seeds that every policy has finished."""

    run: RunFolder
    policies: tuple[str, ...]  # names, in the order of the command line
    seeds: tuple[int, ...]
    tables: dict[tuple[str, int], Table]

    @property
    def sites(self) -> list[str]:
        """Names of the sites."""
        return [site["name"] for site in self.run.scenario["sites"]]

    @property
    def dt_h(self) -> float:
        """Length of a step."""
        return float(self.run.scenario["dt_h"])

    def column(self, policy: str, seed: int, name: str) -> Floats:
        """A column of one episode."""
        return self.tables[policy, seed].numbers(name)

    def each(self, name: str) -> list[Floats]:
        """A column of every episode of every policy."""
        return [table.numbers(name) for table in self.tables.values()]

    def moves(self, name: str) -> bool:
        """Whether a column is anything but 0 in some episode."""
        return any(np.abs(values).max() > 1e-9 for values in self.each(name))

    @cached_property
    def start_ms(self) -> dict[int, float]:
        """Start of each seed's episode in ms since 1970 UTC, which is what Plotly counts in."""
        first = self.policies[0]
        starts = {seed: self.tables[first, seed].text("time_utc")[0].rstrip("Z") for seed in self.seeds}
        return {seed: float(np.datetime64(start, "ms").astype(np.int64)) for seed, start in starts.items()}

    @property
    def options(self) -> list[tuple[str, str]]:
        """Policies for a selector."""
        return [(name, policy_label(name)) for name in self.policies]

    @property
    def pair(self) -> tuple[str, str]:
        """What is compared at first: the learned policy, or the best other one, and the optimum."""
        learned = [name for name in self.policies if name.startswith(LEARNED)]
        others = [name for name in self.policies if not knows_future(name)] or list(self.policies)
        best = max(others, key=self._benefit_usd)
        left = learned[0] if learned else best
        return left, OPTIMUM if OPTIMUM in self.policies else self.policies[-1]

    def _benefit_usd(self, policy: str) -> float:
        return float(sum(self.column(policy, seed, "benefit_usd").sum() for seed in self.seeds))


def load_episodes(run: RunFolder, summary: Table) -> EpisodeTables | None:
    """The tables of the first few seeds that every policy has finished; None where there is no such seed.

    Raises InputError where a table that the summary promises is missing or damaged.
    """
    folders: dict[str, str] = run.record.get("policies", {})
    names = {name: folder for folder, name in folders.items()}
    policies = [name for name in summary.unique("policy") if name in names]
    finished = set(zip(summary.text("policy"), summary.text("seed"), strict=True))
    seeds = [
        int(seed) for seed in summary.unique("seed") if all((policy, seed) in finished for policy in policies)
    ][:SHOWN_SEEDS]
    if not seeds or not policies:
        return None
    tables = {
        (policy, seed): run.table(f"tables/{names[policy]}_seed{seed}.csv", ("time_utc", "benefit_usd"))
        for policy in policies
        for seed in seeds
    }
    return EpisodeTables(run, tuple(policies), tuple(seeds), tables)


def held(values: Floats) -> list[float | None]:
    """Values of the steps, the last one twice: a step line ends at the end of the last step."""
    return rounded([*values, values[-1]], 4)


def seed_options(seeds: Sequence[int]) -> list[tuple[str, str]]:
    """Seeds for a selector."""
    return [(str(seed), str(seed)) for seed in seeds]


def place(run: RunFolder, group: str, name: str) -> dict[str, Any]:
    """The record of a site or region of a run's scenario."""
    return next(item for item in run.scenario[group] if item["name"] == name)
