"""What the agent sees: the parts of the observation, their order, scales, names, and the way back to units.

The flat observation [...,N] is the parts side by side in alphabetical order; that is the order in which
Gymnasium flattens a Dict space.  Every entry is ``(value - offset) / scale`` in float32; offsets and
scales are constants of the scenario (see `_parts`).  A part that a scenario does not have (jobs, a carbon
budget, rows that may wait, events that reduce a limit) is left out.

Shape letters as in `gridai_env.world.state`; besides, P: rows that may not wait (sessions), Q: rows that may
wait, H: leads of the forecast, D: steps of the longest wait.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gridai_env.arrays.types import AnyFloats, Array, Float, Floats
from gridai_env.episodes.exogenous import LIMITS
from gridai_env.observation.decode import JOB_FEATURES, full_fields, parts_in_units, records
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import Exogenous, State

PRICE_SCALE_USD_PER_MWH = 100.0
CARBON_SCALE_KG_PER_MWH = 500.0
PRICE_SCALE, CARBON_SCALE = np.array(PRICE_SCALE_USD_PER_MWH), np.array(CARBON_SCALE_KG_PER_MWH)
ONE = np.array(1.0)
STATIC = "open_routes"  # the part that is the same in all episodes
# No entry gets near it.  Bounds are finite only because checkers warn of infinite ones.
BOUND = 1e6
CLOCK = ("hour_sin", "hour_cos", "week_sin", "week_cos", "year_sin", "year_cos")


@dataclass(frozen=True)
class Part:
    """One entry of the Dict: an array of ``shape`` that is shown flat (C order) and scaled."""

    name: str
    unit: str
    axes: tuple[tuple[str, ...], ...]  # names of the indices of each axis
    scale: AnyFloats  # broadcasts to the shape
    offset: float = 0.0
    low: float = 0.0
    high: float = BOUND

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape before flattening."""
        return tuple(len(axis) for axis in self.axes)

    @cached_property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    def index_names(self) -> list[str]:
        """Return a name for every index, e.g. ``placed/west/sessions-home/texas``."""
        names = [self.name]
        for axis in self.axes:
            names = [f"{name}/{label}" for name in names for label in axis]
        return names


def no_zeros(scale: AnyFloats) -> AnyFloats:
    """Return a scale with 1 in place of 0 (entries of scale 0 are always 0)."""
    return np.where(scale == 0.0, 1.0, scale)


def _parts(compiled: Compiled) -> list[Part]:
    """Return all parts with their scales; those without entries are sorted out by the caller."""
    makers = (_site_parts, _line_parts, _work_parts, _forecast_parts, _episode_parts)
    return [part for make in makers for part in make(compiled)]


def _site_parts(compiled: Compiled) -> list[Part]:
    """Return equipment, prices, carbon and limits of the sites."""
    p, sites = compiled.params, (compiled.site_names,)
    battery, renewable = no_zeros(p.battery_max_mwh), no_zeros(compiled.sites.renewable_mw)
    import_mw, export_mw = no_zeros(compiled.import_limit_mw), no_zeros(compiled.export_limit_mw)

    return [
        Part("available_gpus", "gpus", sites, p.gpus),
        Part("battery", "mwh", sites, battery),
        Part("battery_target", "mwh", sites, battery),
        Part("buy_price", "usd_per_mwh", sites, PRICE_SCALE, low=-BOUND),
        Part("carbon_average", "kg_per_mwh", sites, CARBON_SCALE),
        Part("carbon_marginal", "kg_per_mwh", sites, CARBON_SCALE),
        Part("export_limit", "mw", sites, export_mw),
        Part("generation", "mw", sites, no_zeros(p.generator_max_mw)),
        Part("import_limit", "mw", sites, import_mw),
        Part("peak_import", "mw", sites, import_mw),
        Part("pue", "", sites, ONE, offset=1.0),  # shown less 1, so that 0 means no overhead
        Part("renewable", "mw", sites, renewable),
        Part("sell_price", "usd_per_mwh", sites, PRICE_SCALE, low=-BOUND),
    ]


def _line_parts(compiled: Compiled) -> list[Part]:
    """Return the lines of the sites, as they stand now, and the net import of past days."""
    shape, sites = compiled.shape, compiled.site_names
    slots = tuple(f"line{n}" for n in range(shape.lines))
    answering = slots if shape.has_response else ()
    averaged, measured = (slots, sites) if shape.day_steps else ((), ())
    day, import_mw = _ahead(shape.day_steps), no_zeros(compiled.import_limit_mw)
    return [
        Part("baseline_counts", "", (measured,), ONE, high=1.0),
        Part("baseline_share", "", (averaged, sites), ONE, high=1.0),
        Part("baseline_sum", "mw", (sites, day), import_mw[:, None], low=-BOUND),
        Part("committed", "mw", (answering, sites), import_mw),
        Part("day_before", "mw", (sites, day), import_mw[:, None], low=-BOUND),
        Part("generator_open", "", (sites if shape.has_gates else (),), ONE, high=1.0),
        Part("line", "mw", (slots, sites), import_mw, low=-BOUND),
        Part("line_price", "usd_per_mwh", (slots, sites), PRICE_SCALE),
        Part("response_price", "usd_per_mwh", (answering, sites), PRICE_SCALE, low=-BOUND),
    ]


def _work_parts(compiled: Compiled) -> list[Part]:
    """Return work and jobs: what arrives, waits, is placed and runs."""
    shape, regions, sites = compiled.shape, compiled.region_names, compiled.site_names
    rows = tuple(name.replace("/", "-") for name in compiled.row_names)
    sessions, waiting = rows[: shape.session_rows], rows[shape.session_rows :]
    work = work_scale_gpuh(compiled)
    at_sessions = work[:, : shape.session_rows]
    # A queue can hold the arrivals of the whole wait.
    queue = (work * np.maximum(compiled.row_wait_steps, 1))[:, shape.session_rows :]

    steps_ahead = _ahead(shape.wait_steps)
    job_steps = _ahead(shape.job_steps if shape.jobs else 0)
    slots = tuple(f"slot{v}" for v in range(shape.slots))
    return [
        Part("arrivals", "gpuh", (regions, rows), work),
        Part("arrivals_before", "gpuh", (regions, sessions), at_sessions),
        Part("backlog", "gpuh", (regions, waiting), queue),
        Part("committed_gpus", "gpus", (sites, job_steps), compiled.params.gpus[:, None]),
        Part("due", "gpuh", (regions, waiting, steps_ahead), queue[..., None]),
        Part("jobs", "", (slots, (*JOB_FEATURES, *sites)), job_scales(compiled)),
        Part("open_routes", "", (regions, rows, sites), ONE, high=1.0),
        Part("placed", "gpuh", (regions, sessions, sites), at_sessions[..., None]),
    ]


def _forecast_parts(compiled: Compiled) -> list[Part]:
    """Return the forecasts; those of limits only where events may reduce them."""
    sites, reduced = compiled.site_names, compiled.events.kind
    leads = tuple(f"+{lead:g}h" for lead in compiled.forecast.leads_h)
    contracts = tuple(f"{sites[rule.site]}-{rule.spec.name}" for rule in compiled.lines.matching)
    contracted_mw = [rule.spec.wind_mw + rule.spec.pv_mw for rule in compiled.lines.matching]
    return [
        Part("forecast_arrivals", "gpuh", (leads, compiled.region_names), work_scale_gpuh(compiled).sum(-1)),
        Part("forecast_buy_price", "usd_per_mwh", (leads, sites), PRICE_SCALE, low=-BOUND),
        Part("forecast_call", "", (leads, compiled.lines.call_names), ONE, high=1.0),
        Part("forecast_carbon", "kg_per_mwh", (leads, sites), CARBON_SCALE),
        Part("forecast_clean", "mw", (leads, contracts), no_zeros(np.array(contracted_mw))),
        Part("forecast_renewable", "mw", (leads, sites), no_zeros(compiled.sites.renewable_mw)),
        *(
            Part(f"forecast_{kind}", field.rpartition("_")[-1], (leads, sites), no_zeros(most(compiled)))
            for kind, (field, most) in LIMITS.items()
            if kind in reduced
        ),
    ]


def _episode_parts(compiled: Compiled) -> list[Part]:
    """Return time and the carbon budget."""
    budget_kg = compiled.params.carbon_budget_kg
    total = ("total",) if compiled.params.has_carbon_budget else ()
    return [
        Part("carbon_budget_left", "kg", (total,), budget_kg, low=-1.0),
        Part("clock", "", (CLOCK,), ONE, low=-1.0, high=1.0),
        Part("steps_left", "steps", (("total",),), np.array(float(compiled.shape.steps)), high=1.0),
    ]


def _ahead(steps: int) -> tuple[str, ...]:
    """Return the names of this and the next steps."""
    return tuple(f"+{n}" for n in range(steps))


def work_scale_gpuh(compiled: Compiled) -> AnyFloats:
    """Return the mean work per step of each region and row [C,W]: mean demand x step x share of the row."""
    return no_zeros(compiled.regions.mean_gpus[:, None] * compiled.shape.dt_h * compiled.row_share)


def job_scales(compiled: Compiled) -> AnyFloats:
    """Return the scales of a job slot [5+K]: largest site, longest job, episode, most valuable job."""
    shape = compiled.shape
    most_usd = max(compiled.job_value_usd, default=1.0)
    scales = [1.0, compiled.params.gpus.max(), shape.job_steps, shape.steps, most_usd]
    return np.array(scales + [1.0] * shape.sites, dtype=float)


class ObservationLayout:
    """Position, shape, scale and offset of each part of the flat observation."""

    def __init__(self, compiled: Compiled) -> None:
        """Lay out the observation of a scenario."""
        self.compiled = compiled
        found = sorted((part for part in _parts(compiled) if part.size), key=lambda part: part.name)
        self.by_name: dict[str, Part] = {part.name: part for part in found}
        self.parts: dict[str, slice] = {}
        start = 0
        for part in found:
            self.parts[part.name] = slice(start, start + part.size)
            start += part.size
        self.size = start

    @cached_property
    def scales(self) -> Float[Floats, " N"]:
        """Scale of each entry of the flat observation."""
        return np.concatenate([np.broadcast_to(p.scale, p.shape).ravel() for p in self.by_name.values()])

    @cached_property
    def offsets(self) -> Float[Floats, " N"]:
        """Offset of each entry of the flat observation."""
        return np.concatenate([np.full(part.size, part.offset) for part in self.by_name.values()])

    @cached_property
    def inverse_scales(self) -> dict[str, AnyFloats]:
        """One over the scale of each entry of each part."""
        return {name: 1.0 / self.scales[where] for name, where in self.parts.items()}

    @cached_property
    def changing(self) -> list[slice]:
        """Where entries change over an episode, in as few slices as there can be: all but the open routes."""
        static = self.parts[STATIC]
        return [s for s in (slice(0, static.start), slice(static.stop, self.size)) if s.start < s.stop]

    def space(self) -> spaces.Dict:
        """Return the Dict of named boxes."""
        return spaces.Dict({name: self._box([part]) for name, part in self.by_name.items()})

    def flat_space(self) -> spaces.Box:
        """Return the flat box: what `FlattenObservation` makes of the Dict."""
        return self._box(list(self.by_name.values()))

    def _box(self, parts: list[Part]) -> spaces.Box:
        low = np.concatenate([np.full(part.size, part.low, dtype=np.float32) for part in parts])
        high = np.concatenate([np.full(part.size, part.high, dtype=np.float32) for part in parts])
        return spaces.Box(low, high, dtype=np.float32)

    def index_names(self, part: str | None = None) -> list[str]:
        """Return the names of the indices of one part, or of the whole flat observation."""
        chosen = self.by_name.values() if part is None else [self.by_name[part]]
        return [name for each in chosen for name in each.index_names()]

    def as_dict(self, flat: Float[Array, "*batch N"]) -> dict[str, Array]:
        """Return views [...,n] of the parts of a flat observation."""
        return {name: flat[..., where] for name, where in self.parts.items()}

    def flatten(self, observation: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return the flat observation [...,N] of a Dict of parts."""
        return np.concatenate([np.asarray(observation[name]) for name in self.parts], axis=-1)

    def physical(self, observation: Mapping[str, Any] | NDArray[np.float32]) -> dict[str, Floats]:
        """Return the values in units (float64), in the shape of each part, batch axes leading.

        Keys are those of `Exogenous` and `State` where there is one, and ``arrivals_before_gpuh [C,W]``,
        ``carbon_left_kg []``, ``clock [6]``, ``due_gpuh [C,W,max(D,1)]``, ``steps_left []``,
        ``forecast_{arrivals_gpuh [H,C], buy_usd_per_mwh, carbon_kg_per_mwh, renewable_mw [H,K]}`` and of
        the job slots ``job_{present, gpus, duration_steps, slack_steps, value_usd [V], open [V,K]}``, and
        ``forecast_{available_gpus, export_limit_mw, import_limit_mw} [H,K]`` where events may reduce them,
        ``forecast_call [H,Q]`` and ``forecast_clean_mw [H,M]`` where lines are called or matched.
        Rows have all W entries: sessions have no backlog and are due at once, rows that wait have no
        placement. What the scenario does not have is 0 or, like the carbon left, infinite.
        """
        flat = self.flatten(observation) if isinstance(observation, Mapping) else observation
        part = parts_in_units(self, np.asarray(flat, dtype=np.float64), self.scales, self.offsets)
        return full_fields(self.compiled.shape, part)

    def rebuild(self, observation: Mapping[str, Any] | NDArray[np.float32]) -> tuple[State, Exogenous]:
        """Return state and exogenous input of the step to come, as far as they matter, from the observation alone.

        The jobs are those of the slots: J = V.  Work that is not bound to leave the queue counts as its
        limit.
        """
        return records(self.compiled.params, self.physical(observation))
