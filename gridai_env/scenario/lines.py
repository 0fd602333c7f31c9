"""Lines and power modes of the sites as constants: what making episodes and the equations of a step need.

A line is a limit of a site's import with a price for what lies above (`gridai_env.scenario.spec.Line`).  Lines of a
site stand side by side in slots, L of them; a hard line has none: it lowers the import limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints
from gridai_env.scenario.power_modes import CURVES, Hull, lower_hull, mean_hull, saving_limits_kw
from gridai_env.scenario.spec import Calls, Line, PowerCurve, Scenario, Site
from gridai_env.traces.local_time import MINUTES_PER_DAY, MINUTES_PER_HOUR

HOURS_PER_DAY = 24.0


@dataclass(frozen=True)
class CallRule:
    """When a line may be called, in steps."""

    per_week: int
    probability: float
    first_minute: float  # of the local day, at which a call may begin
    last_minute: float
    shortest: int
    longest: int
    most: int  # called in a year
    notice: int
    ramp: int
    gap: int
    in_traces: bool  # the trace file says when; none is drawn

    @classmethod
    def of(cls, calls: Calls, dt_h: float) -> CallRule:
        """Return the rule of a scenario."""
        first_h, last_h = calls.start_h
        shortest, longest = (round(hours / dt_h) for hours in calls.duration_h)
        year_h = 8760.0 if calls.hours_a_year is None else calls.hours_a_year
        return cls(
            per_week=calls.per_week,
            probability=0.0 if calls.source == "traces" else calls.probability,
            first_minute=first_h * MINUTES_PER_HOUR,
            last_minute=last_h * MINUTES_PER_HOUR,
            shortest=shortest,
            longest=longest,
            most=round(year_h / dt_h),
            notice=round(calls.notice_h / dt_h),
            ramp=round(calls.ramp_h / dt_h),
            gap=round(calls.least_gap_h / dt_h),
            in_traces=calls.source == "traces",
        )

    def may_begin(self, minute: Int[Ints, " *steps"]) -> Bool[Bools, " *steps"]:
        """Return in which steps a call may begin; ``minute`` of the day as from `on_clock`."""
        return np.asarray((minute >= self.first_minute) & (minute <= self.last_minute))


def on_clock(
    local_minutes: Int[Ints, " *steps"], dt_h: float
) -> tuple[Int[Ints, " *steps"], Int[Ints, " *steps"]]:
    """Return local day and minute of the day at which a rule of clock hours sees each step.

    ``local_minutes``: the begin of the steps, since 1970.  Where it is no whole number of steps, as of hours on clocks
    at half hours, the whole one inside the step counts.
    """
    day, minute = np.divmod(local_minutes + -local_minutes % round(dt_h * MINUTES_PER_HOUR), MINUTES_PER_DAY)
    return day, minute


def limits_import(line: Line) -> bool:
    """Return whether import above a line counts as such: above a hard one is none, a contract's is unmatched."""
    return not line.hard and line.kind != "matching"


@dataclass(frozen=True)
class LineRule:
    """One line of a site; ``spec`` has its megawatts and prices."""

    spec: Line
    site: int
    slot: int  # -1 for a hard line
    call: int  # among the lines that are called; -1 for another

    @property
    def kind(self) -> str:
        """Kind of the line."""
        return self.spec.kind

    @property
    def price_usd_per_mwh(self) -> float:
        """Price of import above the line."""
        return self.spec.price_usd_per_mwh or 0.0


@dataclass(frozen=True)
class LineRules:
    """The lines of a scenario, site by site, and what is called."""

    rules: tuple[LineRule, ...]
    calls: tuple[CallRule, ...]  # Q
    call_names: tuple[str, ...]  # "site/line"
    call_site: tuple[int, ...]
    gated: tuple[int, ...]  # sites whose generator runs only while called
    day_steps: int  # of a day, U; 0 without a baseline

    @classmethod
    def of(cls, scenario: Scenario) -> LineRules:
        """Return the lines of a scenario."""
        rules: list[LineRule] = []
        calls: list[CallRule] = []
        names, sites = [], []
        for k, site in enumerate(scenario.sites):
            slot = 0
            for line in site.lines:
                call = -1
                if line.calls is not None:
                    call = len(calls)
                    calls.append(CallRule.of(line.calls, scenario.dt_h))
                    names.append(f"{site.name}/{line.name}")
                    sites.append(k)
                rules.append(LineRule(line, k, -1 if line.hard else slot, call))
                slot += not line.hard
        gated = [k for k, s in enumerate(scenario.sites) if s.generator and s.generator.only_while_called]
        has_baseline = any(rule.spec.baseline is not None for rule in rules)
        day_steps = round(HOURS_PER_DAY / scenario.dt_h) if has_baseline else 0
        return cls(tuple(rules), tuple(calls), tuple(names), tuple(sites), tuple(gated), day_steps)

    @cached_property
    def slots(self) -> int:
        """Most lines with a price at a site, L."""
        return max((rule.slot + 1 for rule in self.rules), default=0)

    @cached_property
    def has_response(self) -> bool:
        """Whether a line is of demand response."""
        return any(rule.kind == "demand_response" for rule in self.rules)

    @cached_property
    def matching(self) -> tuple[LineRule, ...]:
        """Lines of contracted clean generation."""
        return tuple(rule for rule in self.rules if rule.kind == "matching")

    @cached_property
    def baselines(self) -> tuple[LineRule, ...]:
        """Lines with a baseline, one of a site at most."""
        return tuple(rule for rule in self.rules if rule.spec.baseline is not None)

    def limits_import(self, sites: int) -> Float[Floats, "L K"]:
        """Return 1.0 for lines whose excess is import above a limit, 0.0 for contracts and places without a line."""
        out = np.zeros((self.slots, sites))
        for rule in self.rules:
            if limits_import(rule.spec):
                out[rule.slot, rule.site] = 1.0
        return out

    def capacity_usd_per_h(self, sites: int) -> Float[Floats, "L K"]:
        """Return what is paid for promises of demand response, called or not."""
        out = np.zeros((self.slots, sites))
        for rule in self.rules:
            if rule.kind == "demand_response":
                per_day = rule.spec.capacity_usd_per_mw_day * (rule.spec.commitment_mw or 0.0)
                out[rule.slot, rule.site] = per_day / HOURS_PER_DAY
        return out


def site_hull(site: Site) -> Hull | None:
    """Return the power modes of a site as points (speed, kW) of its lower hull; None where it has none."""
    if not site.power_modes:
        return None
    hulls = [lower_hull(points_of(site, curve)) for curve in site.power_modes]
    return mean_hull(hulls, [curve.share for curve in site.power_modes])


def points_of(site: Site, curve: PowerCurve) -> Float[Floats, "n 2"]:
    """Return the points (speed, kW) of a curve, the first idle."""
    if curve.name is not None:
        idle_kw, points = CURVES[curve.name]
        return np.array([(0.0, idle_kw), *((speed, kw) for kw, speed in points)])
    return np.array([(0.0, site.idle_kw_per_gpu), *((point.speed, point.kw) for point in curve.points or [])])


def saving_tables(scenario: Scenario) -> dict[str, Float[Floats, "M K"]]:
    """Return what power modes may save at the sites: the fields of `Params`; M is 0 where no site has any."""
    hulls = [site_hull(site) for site in scenario.sites]
    segments = max((len(hull) - 1 for hull in hulls if hull is not None), default=0)
    per_gpu, per_busy = (np.zeros((segments, len(hulls))) for _ in range(2))
    for k, hull in enumerate(hulls):
        if hull is not None:
            # The last segment stands for those that a site lacks; a site without modes saves nothing.
            last = np.minimum(np.arange(segments), len(hull) - 2)
            per_gpu[:, k], per_busy[:, k] = (limits[last] for limits in saving_limits_kw(hull))
    return {"saving_kw_per_gpu": per_gpu, "saving_kw_per_busy_gpu": per_busy}
