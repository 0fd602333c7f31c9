"""The contract under study: one connection of a scenario, the firm levels it is tried at, and its episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from baselines.optimum.variants import levers_of
from gridai_env.arrays.types import Float, Floats
from gridai_env.episodes.calls_of_file import CallsOfFile, calls_of_file
from gridai_env.episodes.instance import Instance
from gridai_env.scenario.errors import closest
from gridai_env.scenario.lines import LineRule
from gridai_env.scenario.load import parse_scenario
from gridai_env.scenario.spec import Calls
from gridai_env.traces import read_table
from scripts.runs.arguments import InstancesBySeed
from scripts.runs.command import InputError

FIRM = 1.0  # share at which nothing is curtailed


@dataclass(frozen=True)
class Contract:
    """A line of kind connection, and the episodes that it is called in."""

    episodes: InstancesBySeed
    rule: LineRule
    seeds: tuple[int, ...]  # of all episodes
    called_h: Float[Floats, " m"]  # in each of them

    @classmethod
    def of(cls, episodes: InstancesBySeed, seeds: Sequence[int], site: str | None) -> Contract:
        """Find the line and count its called hours; raises InputError where there is none or it is never called."""
        rule = find_line(episodes, site)
        instances = episodes.batch(seeds)
        hours = (instances.knowledge.call_depth[..., rule.call] > 0.0).sum(-1) * episodes.compiled.shape.dt_h
        if not hours.any():
            raise InputError(
                f"--seeds: {rule.spec.name!r} is called in no hour of {len(seeds)} episode(s); take more of them"
            )
        return cls(episodes, rule, tuple(seeds), hours)

    @property
    def site(self) -> str:
        """Name of the site."""
        return self.episodes.compiled.site_names[self.rule.site]

    @property
    def max_mw(self) -> float:
        """Import limit of the site."""
        return float(self.episodes.compiled.import_limit_mw[self.rule.site])

    @property
    def called_seeds(self) -> tuple[int, ...]:
        """Seeds of the episodes with a called hour; in all others the contract changes nothing."""
        return tuple(seed for seed, hours in zip(self.seeds, self.called_h, strict=True) if hours)

    @property
    def calls(self) -> Calls:
        """When the line is called, as the scenario says."""
        assert self.rule.spec.calls is not None
        return self.rule.spec.calls

    @property
    def of_file(self) -> CallsOfFile | None:
        """Calls in the trace file; None: drawn."""
        compiled = self.episodes.compiled
        drawn = self.calls.source == "drawn"
        return None if drawn else calls_of_file(compiled, read_table(compiled.traces))

    @property
    def hours_a_year(self) -> float | None:
        """Most called hours of a year, as the scenario says, or as many as in the trace file; None: no limit."""
        of_file = self.of_file
        return self.calls.hours_a_year if of_file is None else of_file.hours_a_year(self.rule.call)

    @property
    def notice_h(self) -> float | None:
        """Notice of a call, as the scenario says; None: each call of the trace file has its own."""
        of_file = self.of_file
        own = of_file is not None and self.rule.call in of_file.own_notice
        return None if own else self.calls.notice_h

    def levers(self) -> tuple[str, ...]:
        """Return the levers that an episode of the scenario has."""
        return levers_of(self.episodes.make(self.called_seeds[0]))

    def at(self, firm_share: float, notice_h: float | None = None) -> Sequence[Instance]:
        """Return the called episodes with another firm level and notice; all else, calls included, is equal."""
        compiled = self.episodes.compiled
        data = compiled.scenario.model_dump()
        lines = data["sites"][self.rule.site]["lines"]
        line = next(line for line in lines if line["name"] == self.rule.spec.name)
        line["mw"] = firm_share * self.max_mw
        if notice_h is not None:
            line["calls"]["notice_h"] = notice_h
        text = f"{compiled.name} at {firm_share:g} firm" + (
            "" if notice_h is None else f", --notice {notice_h:g}"
        )
        return self.episodes.of_scenario(parse_scenario(data, text)).batch(self.called_seeds).instances


def find_line(episodes: InstancesBySeed, site: str | None) -> LineRule:
    """Return the connection of ``site``, or the only one; raises InputError where that is none or several."""
    compiled = episodes.compiled
    found = [rule for rule in compiled.lines.rules if rule.kind == "connection"]
    if not found:
        raise InputError(
            f"scenario {compiled.name}: no site has a line of kind connection, so there is no contract to study; add "
            "one under sites[].lines, or take flexible_campus"
        )

    sites = list(dict.fromkeys(compiled.site_names[rule.site] for rule in found))
    if site is not None and site not in compiled.site_names:
        raise InputError(f"--site {site!r}: unknown: {closest(site, compiled.site_names)}")
    if site is not None and site not in sites:
        raise InputError(
            f"--site {site!r}: has no line of kind connection; those that have: {', '.join(sites)}"
        )
    if site is None and len(sites) > 1:
        raise InputError(f"--site: must be one of those with a connection: {', '.join(sites)}")

    mine = [rule for rule in found if compiled.site_names[rule.site] == (site or sites[0])]
    if len(mine) > 1:
        names = ", ".join(rule.spec.name for rule in mine)
        raise InputError(
            f"site {site or sites[0]} has several connections ({names}); leave one in the scenario"
        )
    return mine[0]
