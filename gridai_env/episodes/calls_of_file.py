"""Calls that stand in the trace file: which columns a scenario reads, what is refused, and the calls of episodes.

A file is checked as a whole, so that all seeds of a scenario agree on whether it can be used; cells that are bad are
refused only where an episode uses them (`gridai_env.traces.files.zones`).

Shapes: B episodes, T steps, Q lines that are called.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from gridai_env.arrays.kept import kept_by
from gridai_env.episodes.calls import HOURS_PER_YEAR, CallTable
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.errors import closest
from gridai_env.scenario.lines import LineRule
from gridai_env.traces import TraceError, TraceTable
from gridai_env.traces.files.calls import CalledSteps, FileCalls
from gridai_env.traces.files.formats import CALL, NOTICE
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp

KEPT_FILES = 16
NEAR = 1e-6  # of a step


@dataclass(frozen=True)
class CallsOfFile:
    """The calls in a file of the lines of a scenario."""

    table: TraceTable  # with the columns of calls
    step_min: int
    lines: tuple[CalledSteps | None, ...]  # Q; None: drawn
    own_notice: frozenset[int]  # lines whose calls have their notice in the file
    words: tuple[str, ...]  # what was read, by line

    def at(self, start_utc: np.ndarray, steps: int) -> CallTable:
        """Return the calls of episodes that start at ``start_utc`` (datetime64 [B]); no call where they are drawn."""
        first = start_utc.astype("datetime64[m]").astype(np.int64) // self.step_min
        depth = np.zeros((len(first), steps, len(self.lines)))
        known = np.full(depth.shape, steps, dtype=np.int64)
        for q, line in enumerate(self.lines):
            if line is not None:
                depth[..., q], known[..., q] = line.window(first, steps)
        return CallTable(depth, known)

    def hours_a_year(self, call: int) -> float | None:
        """Return the hours of a year in which a line is called, as often as in the file; None where it is drawn."""
        line = self.lines[call]
        return None if line is None else HOURS_PER_YEAR * line.called_share


def _called_in_traces(compiled: Compiled) -> list[LineRule]:
    lines = compiled.lines
    return [rule for rule in lines.rules if rule.call >= 0 and lines.calls[rule.call].in_traces]


def _key(compiled: Compiled, table: TraceTable) -> Hashable:
    """Return all of a file and a scenario that its calls depend on."""
    sites = compiled.scenario.sites
    lines = [
        (rule.site, rule.call, rule.kind, rule.spec.name, compiled.lines.calls[rule.call].notice)
        for rule in _called_in_traces(compiled)
    ]
    of_sites = tuple((site.name, site.zone) for site in sites)
    leads = tuple(compiled.forecast.lead_steps)
    file = table.source, table.sha256, table.fill_gap_h
    return *file, of_sites, tuple(lines), len(compiled.lines.calls), leads, compiled.shape.dt_h


@kept_by(_key, KEPT_FILES)
def calls_of_file(compiled: Compiled, table: TraceTable) -> CallsOfFile | None:
    """Return the calls in a trace file, None where all lines of the scenario draw theirs.

    Raises TraceError for a column of no site, a missing one, one without a call, notice or shares that the scenario
    cannot have.
    """
    rules = _called_in_traces(compiled)
    if not rules:
        return None
    for line in _columns_amiss(compiled, table, rules):
        raise TraceError(line)
    reading, step_min = table.reading(_columns(compiled, table, rules)), _step_min(compiled)
    lines: list[CalledSteps | None] = [None] * len(compiled.lines.calls)
    words: list[str] = []
    own_notice: set[int] = set()
    for rule in rules:
        site = compiled.scenario.sites[rule.site]
        calls = FileCalls.of(reading.axis(site.zone), site.name, _notice_h(compiled, rule))
        steps = lines[rule.call] = calls.on_steps(step_min)
        for line in _calls_amiss(compiled, rule, calls, steps):
            raise TraceError(line)
        if calls.own_notice:
            own_notice.add(rule.call)
        words.append(_words(reading, compiled, rule, calls, steps))
    return CallsOfFile(reading, step_min, tuple(lines), frozenset(own_notice), tuple(words))


def _step_min(compiled: Compiled) -> int:
    return round(compiled.shape.dt_h * MINUTES_PER_HOUR)


def _notice_h(compiled: Compiled, rule: LineRule) -> float:
    """Return the notice that the scenario gives a line."""
    return compiled.lines.calls[rule.call].notice * compiled.shape.dt_h


def _columns(compiled: Compiled, table: TraceTable, rules: list[LineRule]) -> dict[str, tuple[str, ...]]:
    """Return the columns of the called sites that the file has, by zone."""
    out: dict[str, tuple[str, ...]] = {}
    for k in dict.fromkeys(rule.site for rule in rules):
        site = compiled.scenario.sites[k]
        names = (begin + site.name.lower() for begin in (CALL, NOTICE))
        out[site.zone] = out.get(site.zone, ()) + tuple(name for name in names if name in table.raw.columns)
    return out


def _columns_amiss(compiled: Compiled, table: TraceTable, rules: list[LineRule]) -> Iterator[str]:
    """Yield a line for each column that is of no site, is missing, or says what the scenario says, too."""
    sites = {name.lower(): name for name in compiled.site_names}
    for name in table.raw.layout.of_sites:
        begin = CALL if name.startswith(CALL) else NOTICE
        if name.removeprefix(begin) not in sites:
            advice = closest(name, [begin + site for site in sites])
            yield f"{table.source}: column {name} is of no site of the scenario ({advice}); rename or remove it"
    for rule in rules:
        site = compiled.site_names[rule.site]
        where = f"site {site!r}, line {rule.spec.name!r}"
        if CALL + site.lower() not in table.raw.columns:
            yield (
                f"{table.source}: no column {CALL}{site}, but calls.source is traces ({where}); add the share of each "
                "interval that is called (0 to 1), or leave the key out to draw calls"
            )
        if (notice_h := _notice_h(compiled, rule)) and NOTICE + site.lower() in table.raw.columns:
            yield (
                f"{table.source}: column {NOTICE}{site} and calls.notice_h = {notice_h:g} h ({where}) both say the "
                "notice; leave one of them out"
            )


def _calls_amiss(compiled: Compiled, rule: LineRule, calls: FileCalls, steps: CalledSteps) -> Iterator[str]:
    """Yield a line for the first call whose notice or share the scenario cannot have, or where there is none."""
    dt_h, site, where = compiled.shape.dt_h, compiled.site_names[rule.site], calls.axis.where
    begins = np.flatnonzero(calls.begins)
    if not begins.size and calls.bad_calls.size:
        what, cure = calls.axis.fault_at(int(calls.bad_calls[0]))
        yield f"{where}, {what}; {cure}, as in {calls.bad_calls.size} intervals"
    elif not begins.size:
        yield (
            f"{where}: column {CALL}{site} has no called interval (a share above 0); the rows of the site's zone count "
            "alone: mark the calls in them, or leave calls.source out to draw calls"
        )
    most_h = max(compiled.forecast.lead_steps) * dt_h
    notice = calls.notice_h[begins] / dt_h
    for n in np.flatnonzero((np.abs(notice - np.round(notice)) > NEAR) | (notice > most_h / dt_h + NEAR))[:1]:
        when = stamp((calls.axis.first + int(begins[n])) * calls.axis.cell_min)
        yield (
            f"{where}, {when}: {NOTICE}{site} = {notice[n] * dt_h:g} (allowed: whole steps of dt_h = {dt_h:g} h up to "
            f"{most_h:g} h, the last of forecast.leads_h); correct it, or add longer leads"
        )
    partly = np.flatnonzero((steps.depth > 0.0) & (steps.depth < 1.0))
    if rule.kind == "demand_response" and partly.size:
        when = stamp((steps.first + int(partly[0])) * _step_min(compiled))
        yield (
            f"{where}, {when}: {CALL}{site} = {steps.depth[partly[0]]:g} on average over the step of dt_h = {dt_h:g} h "
            f"(allowed for demand response, line {rule.spec.name!r}: 0 or 1, an event has no parts); let events begin "
            "and end with steps, or use a shorter dt_h"
        )


def _words(
    table: TraceTable, compiled: Compiled, rule: LineRule, calls: FileCalls, steps: CalledSteps
) -> str:
    """Return in words what was read of the calls of a line."""
    site = compiled.scenario.sites[rule.site]
    notice = f"column {NOTICE}{site.name}" if calls.own_notice else f"{_notice_h(compiled, rule):g} h"
    return (
        f"{compiled.lines.call_names[rule.call]}: column {CALL}{site.name}, zone {site.zone}, "
        f"{table.steps_of(site.zone, _step_min(compiled))}: {int(calls.begins.sum())} calls, "
        f"{HOURS_PER_YEAR * steps.called_share:.0f} called hours a year; notice: {notice}"
    )
