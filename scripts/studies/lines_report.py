"""What a scenario agrees with the grid, as lines of text: its lines and their calls, power modes, the constraint."""

from collections.abc import Iterator

import numpy as np

from gridai_env.arrays.types import Floats
from gridai_env.episodes.calls import HOURS_PER_YEAR
from gridai_env.episodes.instance import make_batch
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.errors import unit_of
from gridai_env.scenario.lines import LineRule, site_hull
from gridai_env.scenario.price_bounds import least_import_usd_per_mwh

EPISODES = 16  # of which called hours are a mean
MOST_STEPS = 20_000  # of all of them


def lines(c: Compiled) -> Iterator[str]:
    """Yield one line for each line of a site, then power modes and the constraint.

    Episodes are made where lines are called, which raises InstanceError where they cannot be.
    """
    rules = c.lines.rules
    called_h, episodes = called_hours(c)
    header = f"{'MW':>10s}{'USD/MWh':>10s}{'calls/week':>12s}{'h/episode':>11s}{'h/year':>8s}"
    yield f"{'line':28s}{'kind':17s}{header}  terms" if rules else "no lines"
    for rule in rules:
        yield from of_line(c, rule, called_h)
    if c.lines.calls:
        count = "1 episode" if episodes == 1 else f"{episodes} episodes"
        yield f"  called: mean of {count} from seed 0 on; h/year at that rate (hours_a_year limits each episode alone)"
    for site in c.scenario.sites:
        if (hull := site_hull(site)) is not None:
            points = ", ".join(f"{speed:.4g}: {kw:.4g}" for speed, kw in hull)
            yield f"power modes of {site.name} (speed: kW, mixes between): {points}"
    if (constraint := c.scenario.constraint) is not None:
        budget = f"{constraint.budget:g} {unit_of(constraint.quantity)}"
        yield f"constraint: {constraint.quantity} at most {budget} an episode, shown as info['cost']"


def called_hours(c: Compiled) -> tuple[Floats, int]:
    """Return the mean called hours of an episode by call [Q], and of how many episodes."""
    episodes = max(1, min(EPISODES, MOST_STEPS // c.shape.steps))
    if not c.lines.calls:
        return np.zeros(0), episodes
    depth = make_batch(c, range(episodes)).knowledge.call_depth
    return c.shape.dt_h * (depth > 0.0).sum(1).mean(0), episodes


def of_line(c: Compiled, rule: LineRule, called_h: Floats) -> Iterator[str]:
    """Yield the row of a line and what one should know of it."""
    line, site = rule.spec, c.scenario.sites[rule.site]
    mw = line.wind_mw + line.pv_mw if line.kind == "matching" else line.mw
    columns = [
        "baseline" if mw is None else f"{mw:g}",
        "hard" if line.hard else f"{rule.price_usd_per_mwh:g}",
    ]
    columns += ["", "", ""] if rule.call < 0 else calls_of(c, rule, float(called_h[rule.call]))
    row = "".join(f"{text:>{width}s}" for text, width in zip(columns, (10, 10, 12, 11, 8), strict=True))
    yield f"{f'{site.name}/{line.name}':28s}{line.kind:17s}{row}  {', '.join(terms(c, rule))}"

    if rule.call >= 0 and not called_h[rule.call]:
        yield "  note: none of these episodes is called"
    idle_mw = site.pue_base * c.params.gpus[rule.site] * site.idle_kw_per_gpu / 1000.0 + site.base_load_mw
    if line.hard and line.mw is not None and idle_mw > line.mw:
        yield (
            f"  note: idle accelerators alone draw {idle_mw:.4g} MW, above this hard line: while called, load is shed "
            "unless batteries, generators or renewables carry the rest"
        )


def calls_of(c: Compiled, rule: LineRule, hours: float) -> list[str]:
    """Return calls of a week before gaps and limits, called hours of an episode and of a year."""
    calls = c.lines.calls[rule.call]
    a_week = "file" if calls.in_traces else f"{calls.per_week * calls.probability:g}"
    return [a_week, f"{hours:.3g}", f"{hours * HOURS_PER_YEAR / c.scenario.horizon_h:.0f}"]


def terms(c: Compiled, rule: LineRule) -> Iterator[str]:
    """Yield what else is agreed."""
    line, site = rule.spec, c.scenario.sites[rule.site]
    if line.calls is not None:
        notice = c.lines.calls[rule.call].notice * c.shape.dt_h
        yield f"notice {notice:g} h"
        if line.calls.hours_a_year is not None:
            yield f"at most {line.calls.hours_a_year:g} h in an episode"
    if line.kind == "demand_response":
        yield f"commitment {line.commitment_mw:g} MW"
        pays = line.energy_price_usd_per_mwh
        yield f"energy at {energy(c, rule)}" if pays == "market" else f"energy at {pays:g} USD/MWh"
        yield f"capacity at {line.capacity_usd_per_mw_day:g} USD per MW and day"
    if line.baseline is not None:
        yield f"mean of {line.baseline.days} {'weekdays' if line.baseline.weekdays_only else 'days'}"
    if line.kind == "matching":
        yield f"wind {line.wind_mw:g} MW, sun {line.pv_mw:g} MW in {site.zone}"


def energy(c: Compiled, rule: LineRule) -> str:
    """Return in words what the market pays at least."""
    if c.traces != "synthetic":
        return "the market's price (above minus the shortfall price in each event, or the episode is refused)"
    least = least_import_usd_per_mwh(c.scenario, c.scenario.sites[rule.site])
    return f"the market's price (never below {least:.4g} USD/MWh)"
