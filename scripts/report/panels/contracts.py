"""What was agreed with the grid: the lines of a scenario as a table."""

from __future__ import annotations

from collections.abc import Iterator

from gridai_env.scenario.spec import Calls, Line, Scenario, Site
from scripts.report.data.names import plain, words
from scripts.report.data.numbers import number
from scripts.report.data.parts import Panel, PlainTable
from scripts.report.data.run_folders import RunFolder

HEADERS = ("site", "line", "limit of import", "above it", "called", "paid")


def contracts_panel(run: RunFolder) -> Panel | None:
    """Return the panel of the lines of all sites; None without any."""
    sites = Scenario.model_validate(run.scenario).sites
    rows = [_row(site, line) for site in sites for line in site.lines]
    return Panel("agreed", table=PlainTable(HEADERS, rows, names=2), open_table=True) if rows else None


def _row(site: Site, line: Line) -> tuple[str, ...]:
    price = line.price_usd_per_mwh or 0.0
    above = "impossible" if line.hard else f"{number(price, 4)} USD/MWh" if price else "counted, free"
    name, paid = f"{plain(line.name)} ({words(line.kind)})", ", ".join(_paid(line))
    return plain(site.name), name, _limit(site, line), above, _called(line.calls), paid or "—"


def _limit(site: Site, line: Line) -> str:
    if line.kind == "matching":
        sources = (("wind", line.wind_mw), ("sun", line.pv_mw))
        return "output of " + " and ".join(f"{number(mw)} MW of {name}" for name, mw in sources if mw)
    own = "" if line.mw is None else f"{number(line.mw)} MW"
    if line.kind == "connection":
        most_mw = site.grid.import_limit_mw
        return f"{own} while called" + (f", else {number(most_mw)} MW" if most_mw else "")
    if line.kind == "demand_response" and line.commitment_mw is not None:
        if line.baseline is not None:
            days = "weekdays" if line.baseline.weekdays_only else "days"
            own = f"mean of the last {line.baseline.days} {days} less {number(line.commitment_mw)} MW"
        return f"{own}, in an event"
    return own


def _called(calls: Calls | None) -> str:
    if calls is None:
        return "—"
    if calls.source == "traces":
        return "as the trace file says"
    first_h, last_h = map(number, calls.duration_h)
    length = first_h if first_h == last_h else f"{first_h} to {last_h}"
    most = "" if calls.hours_a_year is None else f", at most {number(calls.hours_a_year)} h a year"
    return f"{length} h each{most}, notice {number(calls.notice_h)} h"


def _paid(line: Line) -> Iterator[str]:
    if line.energy_price_usd_per_mwh == "market":
        yield "what is cut, at the price of import"
    elif line.energy_price_usd_per_mwh:
        yield f"what is cut, at {number(line.energy_price_usd_per_mwh, 4)} USD/MWh"
    if line.capacity_usd_per_mw_day:
        yield f"{number(line.capacity_usd_per_mw_day, 4)} USD per MW and day promised"
