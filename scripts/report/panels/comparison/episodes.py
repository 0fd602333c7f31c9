"""Step tables of a comparison, loaded once: which policies and seeds are shown, and their columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gridai_env.arrays.types import Float, Floats
from scripts.report.data.names import (
    LEARNED,
    OPTIMUM,
    knows_future,
    policy_colour,
    policy_label,
    rounded,
    safe,
)
from scripts.report.data.parts import Choice, seed_choice
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.drawing import Drawing

# Hourly data of so many seeds stand in the page; the ladder is made of all of them.
SHOWN_SEEDS = 5
DIGITS = 4  # significant, of hourly values
ZERO = 1e-9


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

    def column(self, policy: str, seed: int, name: str) -> Float[Floats, " T"]:
        """Return a column of one episode."""
        return self.tables[policy, seed].numbers(name)

    def shared(self, seed: int, name: str) -> Float[Floats, " T"]:
        """Return a column of an episode that is the same under every policy: prices, arrivals, ..."""
        return self.column(self.policies[0], seed, name)

    def each(self, name: str) -> list[Float[Floats, " T"]]:
        """Return a column of every episode of every policy."""
        return [table.numbers(name) for table in self.tables.values()]

    def moves(self, name: str) -> bool:
        """Return whether a column is anything but 0 in some episode."""
        return any(np.abs(values).max() > ZERO for values in self.each(name))

    def moves_at_a_site(self, name: str) -> bool:
        """Return whether a column of some site is anything but 0 in some episode."""
        return any(self.moves(f"{name}/{site}") for site in self.sites)

    def mean(self, policy: str, name: str) -> float:
        """Return the mean of a column over steps and seeds."""
        return float(np.mean([self.tables[policy, seed].mean(name) for seed in self.seeds]))

    @cached_property
    def clock(self) -> dict[str, Any]:
        """Times for `over_time`: the step, start and end of each seed's first step, in ms since 1970 UTC."""
        step_ms = 3_600_000 * self.dt_h
        found: dict[str, Any] = {"dx": step_ms}
        for seed in self.seeds:
            start_ms = first_ms(self.tables[self.policies[0], seed])
            found |= {f"start|{seed}": start_ms, f"end|{seed}": start_ms + step_ms}
        return found

    def axis_title(self, seed: int, site: str | None = None) -> str:
        """Return the title of the time axis, with the clocks of those who live at a site, or of all."""
        regions = self.run.scenario["regions"]
        zones = [region["timezone"] for region in regions if site in (None, region["home"])]
        return time_title(zones, self.clock[f"start|{seed}"])

    @property
    def pair(self) -> tuple[str, str]:
        """What is compared at first: the learned policy, or the best other one, and the optimum."""
        learned = [name for name in self.policies if name.startswith(LEARNED)]
        others = [name for name in self.policies if not knows_future(name)] or list(self.policies)
        best = max(others, key=lambda name: self.mean(name, "benefit_usd"))
        left = learned[0] if learned else best
        return left, OPTIMUM if OPTIMUM in self.policies else self.policies[-1]

    def policy_choice(self, name: str, label: str, first: str) -> Choice:
        """Return a selector of the policy."""
        return Choice(name, label, [(policy, policy_label(policy)) for policy in self.policies], first)

    def pair_choices(self) -> list[Choice]:
        """Return the selectors of the seed and of two policies."""
        left, right = self.pair
        return [
            seed_choice(self.seeds),
            self.policy_choice("left", "First policy", left),
            self.policy_choice("right", "Second policy", right),
        ]

    def pair_store(self) -> dict[str, Any]:
        """Return what a panel of two chosen policies keeps whatever it shows: the clock, names and colours."""
        store: dict[str, Any] = dict(self.clock)
        for policy in self.policies:
            store |= {f"name|{policy}": safe(policy_label(policy)), f"colour|{policy}": policy_colour(policy)}
        return store


def first_ms(table: Table) -> float:
    """Return the start of the first step, in ms since 1970 UTC."""
    return float(np.datetime64(table.text("time_utc")[0].rstrip("Z"), "ms").astype(np.int64))


def time_title(zones: Iterable[str], start_ms: float) -> str:
    """Return the title of a time axis: UTC, and how far local clocks are ahead (the least and the most)."""
    starts = [datetime.fromtimestamp(start_ms / 1000, ZoneInfo(zone)) for zone in zones]
    starts.sort(key=lambda start: start.utcoffset() or timedelta())
    ahead = [f"{start:%z}".replace("-", "−") for start in starts]
    clocks = [f"{sign[:3]}:{sign[3:]}" for sign in dict.fromkeys(ahead)]
    if not clocks:
        return "UTC"
    if len(clocks) > 1:
        return f"UTC (local: UTC{clocks[0]} to {clocks[-1]})"
    return f"UTC (local: UTC{clocks[0]}, first step {starts[0]:%H:%M})"


def load_episodes(run: RunFolder, summary: Table) -> EpisodeTables | None:
    """Return the tables of the first few seeds that every policy has finished; None where there is no such seed.

    Raises InputError where a table that the summary promises is missing or damaged.
    """
    folders: dict[str, str] = run.record.get("policies", {})
    names = {name: folder for folder, name in folders.items()}
    policies = [name for name in summary.unique("policy") if name in names]

    # Curves side by side must be of the same episodes: those that every policy has finished.
    finished = set(zip(summary.text("policy"), summary.text("seed"), strict=True))
    whole = [seed for seed in summary.unique("seed") if all((name, seed) in finished for name in policies)]
    seeds = [int(seed) for seed in whole[:SHOWN_SEEDS]]
    if not seeds or not policies:
        return None

    tables = {
        (policy, seed): run.table(f"tables/{names[policy]}_seed{seed}.csv", ("time_utc", "benefit_usd"))
        for policy in policies
        for seed in seeds
    }
    return EpisodeTables(run, tuple(policies), tuple(seeds), tables)


def over_time(out: Drawing, key: str, row: int, at_end: bool = False, **look: Any) -> None:
    """Add a line over the hours of an episode: of the steps, or of what holds at the end of each.

    The store holds `EpisodeTables.clock`, and the values under ``key``.
    """
    times = {"x0": "end|{seed}" if at_end else "start|{seed}", "dx": "dx"}
    line = ({} if at_end else {"shape": "hv"}) | look.pop("line", {})
    out.add("scatter", {"y": key, **times}, row=row, mode="lines", line=line, **look)


def held(values: Float[Floats, " T"]) -> list[float | None]:
    """Return the values of the steps, the last one twice: a step line ends at the end of the last step."""
    return rounded([*values, values[-1]], DIGITS)
