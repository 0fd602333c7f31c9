"""Checks of the lines and power modes of a scenario.  Each check yields one line for each problem."""

from collections.abc import Iterator
from itertools import pairwise

from gridai_env.scenario.capacity import full_load_mw, import_limit_mw, nameplate_gpus
from gridai_env.scenario.errors import problem
from gridai_env.scenario.lines import HOURS_PER_DAY, CallRule, limits_import, on_clock, points_of
from gridai_env.scenario.power_modes import CURVES, SAME
from gridai_env.scenario.price_bounds import least_import_usd_per_mwh
from gridai_env.scenario.spec import Calls, Line, PowerCurve, Scenario, Site
from gridai_env.scenario.tables import site_timezone, synthetic_starts
from gridai_env.traces import known_zones
from gridai_env.traces.local_time import MINUTES_PER_DAY, local_minutes, step_minutes

# Keys that belong to some kinds of lines only, with what says that they are not given.
OWN_KEYS = {
    "hard": ("connection",),
    "calls": ("connection", "demand_response"),
    "baseline": ("demand_response",),
    "commitment_mw": ("demand_response",),
    "energy_price_usd_per_mwh": ("demand_response",),
    "capacity_usd_per_mw_day": ("demand_response",),
    "wind_mw": ("matching",),
    "pv_mw": ("matching",),
}
SHARES = 1e-6


def lines(s: Scenario) -> Iterator[str]:
    """Check the lines of all sites."""
    for i, site in enumerate(s.sites):
        seen: set[str] = set()
        for j, line in enumerate(site.lines):
            key = f"sites[{i}].lines[{j}]"
            if line.name in seen:
                yield problem(f"{key}.name", line.name, f"unique among the lines of site {site.name!r}")
            seen.add(line.name)
            yield from _line(s, key, site, line)
        contracts = [line.name for line in site.lines if line.kind == "matching"]
        if len(contracts) > 1:
            advice = "two would bill the same import twice: put wind_mw and pv_mw of both into one"
            yield problem(f"sites[{i}].lines", contracts, "at most one line of kind matching", advice)
        with_baseline = [line.name for line in site.lines if line.baseline is not None]
        if len(with_baseline) > 1:
            yield problem(
                f"sites[{i}].lines", with_baseline, "at most one line with a baseline", "leave the others out"
            )
        called = any(line.calls is not None for line in site.lines)
        if site.generator is not None and site.generator.only_while_called and not called:
            advice = "no line of the site has calls: give one calls, or leave the key out"
            yield problem(f"sites[{i}].generator.only_while_called", True, "false", advice)


def _line(s: Scenario, key: str, site: Site, line: Line) -> Iterator[str]:
    """Check that the keys of a line are those of its kind."""
    for name, kinds in OWN_KEYS.items():
        value = getattr(line, name)
        if line.kind not in kinds and value != Line.model_fields[name].default:
            yield problem(
                f"{key}.{name}", value, f"left out for kind {line.kind}", f"of {' and '.join(kinds)}"
            )
    if line.hard == (line.price_usd_per_mwh is not None):
        allowed = "left out where hard is true" if line.hard else "a number in [0, inf)"
        advice = "a line has a price, or it is hard"
        yield problem(f"{key}.price_usd_per_mwh", line.price_usd_per_mwh, allowed, advice)
    if line.kind in ("connection", "tier") and line.mw is None:
        yield problem(f"{key}.mw", None, "a number in [0, inf)", "the limit of import")
    if line.kind in ("connection", "demand_response") and line.calls is None:
        yield problem(f"{key}.calls", None, "given", "when the grid calls; a limit at all times is kind tier")
    if line.kind == "matching":
        if line.mw is not None:
            yield problem(f"{key}.mw", line.mw, "left out for kind matching", "give wind_mw or pv_mw")
        if not line.wind_mw + line.pv_mw > 0:
            yield problem(f"{key}.wind_mw", line.wind_mw, "above 0, or pv_mw is", "the contracted power")
    if line.kind == "demand_response":
        yield from _response(s, key, site, line)
    if line.calls is not None:
        yield from _calls(s, f"{key}.calls", line.calls)


def _response(s: Scenario, key: str, site: Site, line: Line) -> Iterator[str]:
    """Check what is promised, paid and measured."""
    if line.commitment_mw is None:
        yield problem(f"{key}.commitment_mw", None, "a number in (0, inf)", "the reduction promised")
    if (line.mw is None) == (line.baseline is None):
        value = None if line.mw is None else line.mw
        yield problem(f"{key}.mw", value, "given, or baseline is", "a firm level or a baseline, one of them")
    if line.baseline is not None and line.calls is not None and line.calls.ramp_h > 0:
        advice = "in an event the whole reduction is due from its first step on"
        yield problem(f"{key}.calls.ramp_h", line.calls.ramp_h, "0 with a baseline", advice)
    yield from _prices(s, key, site, line)
    days = s.horizon_h / 24.0
    if line.baseline is not None and days > line.baseline.days:
        # On weekdays alone fewer days of an episode count.
        count = days * 5.0 / 7.0 + 1.0 if line.baseline.weekdays_only else days
        if count > line.baseline.days + 1:
            allowed = f"at least {int(count)} for episodes of {s.horizon_h:g} h, or shorter episodes"
            advice = "days of an episode that count may not be more than are averaged"
            yield problem(f"{key}.baseline.days", line.baseline.days, allowed, advice)


def _prices(s: Scenario, key: str, site: Site, line: Line) -> Iterator[str]:
    """Check that energy and shortfall price are together above 0 in every event; those of trace files show later."""
    pays, shortfall = line.energy_price_usd_per_mwh, line.price_usd_per_mwh or 0.0
    if pays != "market":
        if not pays + shortfall > 0:
            allowed = "above 0 together with price_usd_per_mwh"
            yield problem(f"{key}.energy_price_usd_per_mwh", pays, allowed, "else an event costs nothing")
    elif s.traces == "synthetic" and site.zone in known_zones():
        least = least_import_usd_per_mwh(s, site)
        if not least + shortfall > 0:
            advice = (
                "else import above the line would be paid for: the price of import can fall so low, shocks included; "
                "or give a fixed energy_price_usd_per_mwh"
            )
            yield problem(f"{key}.price_usd_per_mwh", shortfall, f"above {-least:.6g}", advice)


def _calls(s: Scenario, key: str, calls: Calls) -> Iterator[str]:
    """Check the lengths and clock hours of calls."""
    longest, most_lead = calls.duration_h[-1], max(s.forecast.leads_h)
    if calls.notice_h > most_lead:
        allowed = f"at most {most_lead:g}, the last of forecast.leads_h"
        yield problem(f"{key}.notice_h", calls.notice_h, allowed, "what is announced must be foreseen")
    if calls.source == "traces":
        yield from _calls_in_traces(s, key, calls)
        return
    if longest > s.horizon_h:
        allowed = f"at most horizon_h = {s.horizon_h:g}"
        yield problem(f"{key}.duration_h", calls.duration_h, allowed, "calls must fit into an episode")
    if not calls.duration_h[0] > 0:
        yield problem(f"{key}.duration_h", calls.duration_h, "above 0")
    if calls.start_h[-1] >= 24:
        yield problem(f"{key}.start_h", calls.start_h, "below 24", "local hours")
    if calls.hours_a_year is not None and calls.hours_a_year < calls.duration_h[0]:
        allowed = f"at least the shortest call, {calls.duration_h[0]:g}"
        yield problem(f"{key}.hours_a_year", calls.hours_a_year, allowed)


def _calls_in_traces(s: Scenario, key: str, calls: Calls) -> Iterator[str]:
    """Check that a file is there and that nothing else says when it calls."""
    if s.traces == "synthetic":
        advice = "synthetic traces hold no calls: name a trace file in traces, or leave the key out"
        yield problem(f"{key}.source", calls.source, "drawn", advice)
    for name, field in Calls.model_fields.items():
        value = getattr(calls, name)
        if name not in ("source", "notice_h") and value != field.default:
            advice = "the columns of the file say when, how long and how deep"
            yield problem(f"{key}.{name}", value, "left out where source is traces", advice)


def never_called(s: Scenario) -> Iterator[str]:
    """Check that calls can begin in an episode from one of the days of the scenario: short ones may miss the hours."""
    if s.horizon_h >= HOURS_PER_DAY:
        return
    starts = synthetic_starts(s)
    utc = step_minutes(starts, 0, s.steps, s.dt_h)
    for i, site in enumerate(s.sites):
        local = local_minutes([site_timezone(s, site)[0]], utc)[..., 0]
        for j, line in enumerate(site.lines):
            if line.calls is None or line.calls.source != "drawn":
                continue
            rule = CallRule.of(line.calls, s.dt_h)
            if not rule.may_begin(on_clock(local, s.dt_h)[1]).any():
                begins = sorted(
                    {f"{at // 60:02d}:{at % 60:02d}" for at in (local[:, 0] % MINUTES_PER_DAY).tolist()}
                )
                allowed = f"met by an episode: {s.horizon_h:g} h from {' or '.join(begins)} local time"
                advice = "no step can be called; change start_h, start.hour_utc or horizon_h"
                yield problem(f"sites[{i}].lines[{j}].calls.start_h", line.calls.start_h, allowed, advice)


def constraint(s: Scenario) -> Iterator[str]:
    """Check that the quantity of the constraint can occur at all."""
    if s.constraint is None:
        return
    key, quantity = "constraint.quantity", s.constraint.quantity
    if quantity == "carbon_excess_kg" and s.carbon_budget_kg is None:
        yield problem(key, quantity, "a quantity that can occur", "there is no carbon_budget_kg: give one")
    if quantity == "line_excess_mwh" and not any(
        map(limits_import, (x for site in s.sites for x in site.lines))
    ):
        advice = (
            "no line has a price, but for contracts of matching; above a hard line load is shed, see shed_mwh"
        )
        yield problem(key, quantity, "a quantity that can occur", advice)


def call_durations(s: Scenario) -> list[tuple[str, float]]:
    """Return the keys of calls that must be whole numbers of steps, with their values."""
    found: list[tuple[str, float]] = []
    for i, site in enumerate(s.sites):
        for j, line in enumerate(site.lines):
            if (calls := line.calls) is not None:
                key = f"sites[{i}].lines[{j}].calls"
                found += [(f"{key}.{name}[{n}]", h) for name in ("start_h", "duration_h")
                          for n, h in enumerate(getattr(calls, name))]  # fmt: skip
                found += [
                    (f"{key}.{name}", getattr(calls, name)) for name in ("notice_h", "ramp_h", "least_gap_h")
                ]
    return found


def line_limits(s: Scenario) -> Iterator[str]:
    """Check lines against the import limits of their sites, which follow from capacities."""
    for i, (site, gpus) in enumerate(zip(s.sites, nameplate_gpus(s), strict=True)):
        most_mw = import_limit_mw(site, gpus)
        for j, line in enumerate(site.lines):
            for name in ("mw", "commitment_mw"):
                value = getattr(line, name)
                if value is not None and value > most_mw:
                    allowed = f"at most the import limit of the site, {most_mw:g}"
                    yield problem(f"sites[{i}].lines[{j}].{name}", value, allowed)
            drawn_mw = full_load_mw(site, gpus) + (site.battery.power_mw if site.battery is not None else 0.0)
            if line.commitment_mw is not None and drawn_mw < line.commitment_mw <= most_mw:
                allowed = (
                    f"at most {drawn_mw:.6g}, full load of the site on a hot day and charging of its battery"
                )
                yield problem(f"sites[{i}].lines[{j}].commitment_mw", line.commitment_mw, allowed)


def power_modes(s: Scenario) -> Iterator[str]:
    """Check the curves of all sites."""
    for i, site in enumerate(s.sites):
        if not site.power_modes:
            continue
        key = f"sites[{i}].power_modes"
        shares = sum(curve.share for curve in site.power_modes)
        if abs(shares - 1.0) > SHARES:
            yield problem(f"{key}[0].share", shares, "1 in sum over the curves of a site")
        found = [
            line for j, curve in enumerate(site.power_modes) for line in _curve(f"{key}[{j}]", site, curve)
        ]
        yield from found
        if not found:
            yield from _ends(f"sites[{i}]", site)


def _curve(key: str, site: Site, curve: PowerCurve) -> Iterator[str]:
    """Check one curve."""
    if (curve.name is None) == (curve.points is None):
        yield problem(f"{key}.points", curve.points, "given, or name is", "one of them")
        return
    if curve.name not in (None, *CURVES):
        return  # said elsewhere
    points = points_of(site, curve)
    for (speed, kw), (faster, more_kw) in pairwise(points.tolist()):
        if not (faster > speed + SAME and more_kw > kw + SAME):
            text = f"{faster:g} at {more_kw:g} kW after {speed:g} at {kw:g} kW"
            yield problem(f"{key}.points", text, "rising in speed and in kW", "the first is idle")
    if abs(points[-1, 0] - 1.0) > SAME:
        yield problem(f"{key}.points", float(points[-1, 0]), "up to speed 1, the highest power")


def _ends(key: str, site: Site) -> Iterator[str]:
    """Check that the curves together begin and end at the idle and busy power of the site."""
    if any(curve.name not in (None, *CURVES) for curve in site.power_modes):
        return  # said elsewhere
    curves = [(points_of(site, curve), curve.share) for curve in site.power_modes]
    for name, end in (("idle_kw_per_gpu", 0), ("busy_kw_per_gpu", -1)):
        value, wanted = getattr(site, name), float(sum(share * points[end, 1] for points, share in curves))
        if abs(value - wanted) > SHARES:
            yield problem(f"{key}.{name}", value, f"{wanted:.6g}, as the power modes say")
