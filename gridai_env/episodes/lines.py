"""The lines of episodes: limits of import with a price, from calls, past days and contracted generation.

Shapes: B episodes, T steps, K sites, L lines of a site, Q lines that are called, U steps of a day, X = lead-in + T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from gridai_env.arrays.ops import columns, constant, namespace, real, to_int64, zeros
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array, Bool, Bools, Float, Floats
from gridai_env.episodes.calls import DAYS_PER_WEEK, MONDAY, SATURDAY, CallCalendar, site_days
from gridai_env.episodes.demand import calendar, expected_rows_gpuh
from gridai_env.files import InstanceError
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.lines import LineRule
from gridai_env.traces import ZoneSeries
from gridai_env.world import physics
from gridai_env.world.state import exogenous_shapes

LINE_FIELDS = (
    "generator_open", "line_mw", "line_usd_per_mwh", "response_usd_per_mwh", "committed_mw", "baseline_share",
    "baseline_counts",
)  # fmt: skip


@dataclass(frozen=True)
class BaselineCalendar(Record):
    """Which days count for the baselines of a batch, and what the days before the episode add to them.

    One entry for each line with a baseline, R of them.
    """

    counts: Bool[Array, "B T R"]  # the day of the step counts, but for events
    day: Array  # int [B,T,R] local day, counted from that of the first step
    past_mw: Float[Array, "B U N+1 R"]  # at each time of day, sum over the last 0 to N days that count

    @classmethod
    def of(cls, compiled: Compiled, start_utc: np.ndarray) -> BaselineCalendar:
        """Return the calendar of episodes that start at ``start_utc`` (datetime64 [B])."""
        lines, shape = compiled.lines, compiled.shape
        sites, steps_of_day = [rule.site for rule in lines.baselines], lines.day_steps
        longest = max((_days(rule) for rule in lines.baselines), default=0)
        # Of a week five days count at least.
        back = DAYS_PER_WEEK * -(-longest // 5) + 1
        day, _ = site_days(compiled, start_utc, -back * steps_of_day, back * steps_of_day + shape.steps)
        weekdays = (day + MONDAY) % DAYS_PER_WEEK < SATURDAY
        home_mw = expected_home_mw(compiled, start_utc, back * steps_of_day)
        counts, past = [], []
        for rule, k in zip(lines.baselines, sites, strict=True):
            baseline = rule.spec.baseline
            assert baseline is not None
            may = weekdays[..., k] if baseline.weekdays_only else np.ones_like(weekdays[..., k])
            counts.append(may[:, -shape.steps :])
            before = may[:, : -shape.steps].reshape(len(may), back, steps_of_day)
            load = home_mw[..., k].reshape(len(may), back, steps_of_day)
            past.append(_last_sums(load, before, longest))
        now = day[:, -shape.steps :, sites]
        return cls(np.stack(counts, -1), now - now[:, :1], np.stack(past, -1))


def _days(rule: LineRule) -> int:
    """Return the days of a line's baseline."""
    return rule.spec.baseline.days if rule.spec.baseline is not None else 0


def _last_sums(load_mw: Floats, counts: Bools, most: int) -> Float[Floats, "B U most+1"]:
    """Return sums over the last 0 to ``most`` of the days that count, of days [B,days,U] in the order of time."""
    load, counted = load_mw[:, ::-1], counts[:, ::-1]
    number = np.cumsum(counted, axis=1)
    sums = [np.where(counted & (number <= n), load, 0.0).sum(1) for n in range(most + 1)]
    return np.stack(sums, axis=-1)


def expected_home_mw(compiled: Compiled, start_utc: np.ndarray, steps: int) -> Float[Floats, "B steps K"]:
    """Return the import of sites that serve the expected demand of their own regions, before the start.

    No noise, no traces: PUE at its base, no renewables, batteries and generators idle, no jobs.
    """
    p = compiled.params
    rows = expected_rows_gpuh(compiled, calendar(compiled, start_utc, -steps, steps))  # [B,steps,C,W]
    at_home = np.einsum("btcw,ck->btwk", rows, p.home)
    busy = np.minimum(physics.inference_gpus(p, at_home), p.utilisation_limit * p.gpus)
    usual = SimpleNamespace(available_gpus=p.gpus, pue=compiled.sites.pue_base)
    load_mw = physics.facility_power_mw(p, usual, physics.it_power_mw(p, usual, busy))  # type: ignore[arg-type]
    return np.minimum(load_mw, compiled.import_limit_mw)


def clean_mw(compiled: Compiled, wind_cf: Array, pv_cf: Array) -> Float[Array, "B X M"]:
    """Return the contracted clean generation of each matching line; ``*_cf`` [B,X,Z] are of the zones."""
    rules = compiled.lines.matching
    zones = compiled.sites.zone_index[[rule.site for rule in rules]]
    wind = constant(np.array([rule.spec.wind_mw for rule in rules], dtype=float), wind_cf)
    sun = constant(np.array([rule.spec.pv_mw for rule in rules], dtype=float), pv_cf)
    return wind * columns(wind_cf, zones) + sun * columns(pv_cf, zones)


def contracted(compiled: Compiled, series: ZoneSeries) -> tuple[Array, Array]:
    """Return the contracted clean generation and its climatology, [B,X,M] each."""
    return (
        clean_mw(compiled, series.wind_cf, series.pv_cf),
        clean_mw(compiled, series.wind_cf_climatology, series.pv_cf_climatology),
    )


@dataclass(frozen=True)
class LineCalendars:
    """What clocks say of the lines of a batch of episodes."""

    calls: CallCalendar
    baselines: BaselineCalendar | None  # None: no line has one

    @classmethod
    def of(cls, compiled: Compiled, start_utc: np.ndarray) -> LineCalendars:
        """Return the calendars of episodes that start at ``start_utc`` (datetime64 [B])."""
        past = BaselineCalendar.of(compiled, start_utc) if compiled.lines.baselines else None
        return cls(CallCalendar.of(compiled, start_utc), past)

    def map(self, there: Callable[[Array], Array], real: Callable[[Array], Array]) -> LineCalendars:
        """Return the calendars elsewhere; ``real`` moves powers, ``there`` what counts."""
        past = self.baselines
        if past is not None:
            past = past.map(there).replace(past_mw=real(past.past_mw))
        return LineCalendars(self.calls.map(there), past)

    def take(self, rows: Array) -> LineCalendars:
        """Return the calendars of some of the starts."""
        past = None if self.baselines is None else self.baselines.map(lambda x: x[rows])
        return LineCalendars(self.calls.map(lambda x: x[rows]), past)


def line_fields(
    compiled: Compiled,
    depth: Float[Array, "B T Q"],
    clean: Float[Array, "B T M"],
    grid: dict[str, Array],
    past: BaselineCalendar | None,
) -> dict[str, Array]:
    """Return the fields of `Exogenous` that belong to lines, and the import limit under hard ones.

    ``grid``: prices and limits with events (see `exogenous.grid_fields`); ``clean``: see `clean_mw`; ``past`` where a
    line has a baseline.
    """
    lines, buy, shapes = compiled.lines, grid["buy_usd_per_mwh"], exogenous_shapes(compiled.shape)
    xp, most_mw = namespace(buy), constant(compiled.import_limit_mw, buy)
    out = {name: zeros((*buy.shape[:2], *shapes[name]), buy) for name in LINE_FIELDS}
    out["line_mw"][...] = most_mw  # what is no line of a site never binds
    out["import_limit_mw"] = xp.copy(grid["import_limit_mw"])
    if lines.gated:
        out["generator_open"][...] = 1.0
        for k in lines.gated:
            calls = [q for q, site in enumerate(lines.call_site) if site == k]
            out["generator_open"][..., k] = real(xp.amax(depth[..., calls], -1) > 0.0, buy)

    for rule in lines.rules:
        at = (..., rule.slot, rule.site)
        called: Array = depth[..., rule.call] if rule.call >= 0 else None
        if rule.spec.baseline is not None and past is not None:
            parts = _baseline_line(rule, lines.baselines.index(rule), called, past)
            line, out["baseline_share"][at], out["baseline_counts"][..., rule.site] = parts
            line = xp.where(called > 0.0, line, most_mw[rule.site])
        elif rule.kind == "matching":
            line = clean[..., lines.matching.index(rule)]
        elif called is None:
            line = rule.spec.mw
        else:
            line = most_mw[rule.site] - called * (most_mw[rule.site] - rule.spec.mw)

        if rule.spec.hard:
            limit = out["import_limit_mw"]
            limit[..., rule.site] = xp.minimum(limit[..., rule.site], line)
            continue
        out["line_mw"][at] = line
        out["line_usd_per_mwh"][at] = rule.price_usd_per_mwh
        if rule.kind == "demand_response":
            in_event, paid = real(called > 0.0, buy), rule.spec.energy_price_usd_per_mwh
            out["line_usd_per_mwh"][at] *= in_event
            out["response_usd_per_mwh"][at] = in_event * (buy[..., rule.site] if paid == "market" else paid)
            out["committed_mw"][at] = in_event * rule.spec.commitment_mw
    return out


def _baseline_line(
    rule: LineRule, r: int, called: Float[Array, "B T"], past: BaselineCalendar
) -> tuple[Array, Array, Array]:
    """Return of a line with a baseline, [B,T] each: what days before the episode leave of it, less what was promised;
    the weight of the days inside; and whether the step of the day before counts."""
    xp, steps, u = namespace(called), called.shape[-1], past.past_mw.shape[1]
    days, day = _days(rule), past.day[..., r]
    # Days of events do not count: a day is known to be one when it is over.
    number = constant(np.arange(steps // u + 2), day)
    on_day = day[:, :, None] == number
    has_event = xp.amax(real(on_day, called) * real(called > 0.0, called)[:, :, None], 1) > 0.0  # [B,D]
    counts = past.counts[..., r] & ~xp.take_along_axis(has_event, day, axis=1)
    counts = real(counts, called)
    before = xp.concatenate([xp.zeros_like(counts[:, :u]), counts[:, :-u]], axis=1)[:, :steps]

    # Days inside the episode that count at this time of day, then as many before it as are missing.
    inside = xp.copy(before)
    for first in range(u, steps, u):
        inside[:, first : first + u] += inside[:, first - u : first][:, : steps - first]
    table = past.past_mw[..., r][:, constant(np.arange(steps) % u, day)]  # [B,T,N+1]
    index = xp.clip(days - inside, 0.0, float(days))
    outside = xp.take_along_axis(table, to_int64(index)[..., None], axis=-1)[..., 0]
    share = real(called > 0.0, called) / days
    return share * outside - (rule.spec.commitment_mw or 0.0), share, before


def check_response(compiled: Compiled, fields: dict[str, Array]) -> None:
    """Raise InstanceError where, in an event, import above the line would be paid for."""
    if not compiled.lines.has_response:
        return
    worth = fields["response_usd_per_mwh"] + fields["line_usd_per_mwh"]
    bad = np.argwhere((fields["committed_mw"] > 0.0) & (worth <= 0.0))
    if len(bad):
        episode, t, slot, k = bad[0].tolist()
        rule = next(rule for rule in compiled.lines.rules if (rule.slot, rule.site) == (slot, k))
        raise InstanceError(
            f"sites[{k}].lines: {rule.spec.name!r} at step {t}: energy and shortfall price are together "
            f"{float(worth[episode, t, slot, k]):g} USD/MWh, must be above 0; raise price_usd_per_mwh, or give a fixed "
            "energy_price_usd_per_mwh instead of the market's"
        )
