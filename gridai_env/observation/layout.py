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

from gridai_env.arrays.types import AnyFloats, Float, Floats
from gridai_env.observation.decode import JOB_FEATURES, full_fields, parts_in_units, records
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import Exogenous, State

PRICE_SCALE_USD_PER_MWH = 100.0
CARBON_SCALE_KG_PER_MWH = 500.0
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
        """A name for every index, e.g. ``placed/west/sessions-home/texas``."""
        names = [self.name]
        for axis in self.axes:
            names = [f"{name}/{label}" for name in names for label in axis]
        return names


def no_zeros(scale: AnyFloats) -> AnyFloats:
    """Return a scale with 1 in place of 0 (what has no size has only zeros to show)."""
    return np.where(scale == 0.0, 1.0, scale)


def _parts(compiled: Compiled) -> list[Part]:
    """All parts with their scales; those without entries are sorted out by the caller."""
    p, shape = compiled.params, compiled.shape
    sites, regions = compiled.site_names, compiled.region_names
    rows = tuple(name.replace("/", "-") for name in compiled.row_names)
    held, waits = rows[: shape.session_rows], rows[shape.session_rows :]
    leads = tuple(f"+{lead:g}h" for lead in compiled.forecast.leads_h)
    work = work_scale_gpuh(compiled)
    wait = np.maximum(compiled.row_wait_steps, 1)
    queue = (work * wait)[:, shape.session_rows :]
    battery, generator = no_zeros(p.battery_max_mwh), no_zeros(p.generator_max_mw)
    renewable = no_zeros(compiled.sites.renewable_mw)
    export_mw, import_mw = no_zeros(compiled.export_limit_mw), no_zeros(compiled.import_limit_mw)
    price, carbon = np.array(PRICE_SCALE_USD_PER_MWH), np.array(CARBON_SCALE_KG_PER_MWH)
    region_work = work.sum(-1)
    has_budget = bool(np.isfinite(p.carbon_budget_kg))
    steps_ahead = tuple(f"+{h}" for h in range(shape.wait_steps))
    job_steps = tuple(f"+{n}" for n in range(shape.job_steps if shape.jobs else 0))
    slots = tuple(f"slot{v}" for v in range(shape.slots))
    reduced = dict.fromkeys(compiled.events.kind, leads)
    return [
        Part("arrivals", "gpuh", (regions, rows), work),
        Part("arrivals_before", "gpuh", (regions, held), work[:, : len(held)]),
        Part("available_gpus", "gpus", (sites,), p.gpus),
        Part("backlog", "gpuh", (regions, waits), queue),
        Part("battery", "mwh", (sites,), battery),
        Part("battery_target", "mwh", (sites,), battery),
        Part("buy_price", "usd_per_mwh", (sites,), price, low=-BOUND),
        Part("carbon_average", "kg_per_mwh", (sites,), carbon),
        Part("carbon_budget_left", "kg", (("total",) if has_budget else (),), p.carbon_budget_kg, low=-1.0),
        Part("carbon_marginal", "kg_per_mwh", (sites,), carbon),
        Part("clock", "", (CLOCK,), np.array(1.0), low=-1.0, high=1.0),
        Part("committed_gpus", "gpus", (sites, job_steps), p.gpus[:, None]),
        Part("due", "gpuh", (regions, waits, steps_ahead), queue[..., None]),
        Part("export_limit", "mw", (sites,), export_mw),
        Part("forecast_arrivals", "gpuh", (leads, regions), region_work),
        Part("forecast_available_gpus", "gpus", (reduced.get("available_gpus", ()), sites), p.gpus),
        Part("forecast_buy_price", "usd_per_mwh", (leads, sites), price, low=-BOUND),
        Part("forecast_carbon", "kg_per_mwh", (leads, sites), carbon),
        Part("forecast_export_limit", "mw", (reduced.get("export_limit", ()), sites), export_mw),
        Part("forecast_import_limit", "mw", (reduced.get("import_limit", ()), sites), import_mw),
        Part("forecast_renewable", "mw", (leads, sites), renewable),
        Part("generation", "mw", (sites,), generator),
        Part("import_limit", "mw", (sites,), import_mw),
        Part("jobs", "", (slots, (*JOB_FEATURES, *sites)), job_scales(compiled)),
        Part("open_routes", "", (regions, rows, sites), np.array(1.0), high=1.0),
        Part("peak_import", "mw", (sites,), import_mw),
        Part("placed", "gpuh", (regions, held, sites), work[:, : len(held), None]),
        Part("pue", "", (sites,), np.array(1.0), offset=1.0),
        Part("renewable", "mw", (sites,), renewable),
        Part("sell_price", "usd_per_mwh", (sites,), price, low=-BOUND),
        Part("steps_left", "steps", (("total",),), np.array(float(shape.steps)), high=1.0),
    ]


def work_scale_gpuh(compiled: Compiled) -> AnyFloats:
    """Mean work per step of each region and row [C,W]: mean demand x step x share of the row."""
    return no_zeros(compiled.regions.mean_gpus[:, None] * compiled.shape.dt_h * compiled.row_share)


def job_scales(compiled: Compiled) -> AnyFloats:
    """Scales of the features of a job slot [5+K]: largest site, longest job, episode, most valuable job."""
    shape = compiled.shape
    most_usd = max(compiled.job_value_usd, default=1.0)
    scales = [1.0, compiled.params.gpus.max(), shape.job_steps, shape.steps, most_usd]
    return np.array(scales + [1.0] * shape.sites, dtype=float)


class ObservationLayout:
    """Where each part of the flat observation lies, and what its entries mean."""

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

    def space(self) -> spaces.Dict:
        """The Dict of named boxes."""
        return spaces.Dict({name: self._box([part]) for name, part in self.by_name.items()})

    def flat_space(self) -> spaces.Box:
        """The flat box: what `FlattenObservation` makes of the Dict."""
        return self._box(list(self.by_name.values()))

    def _box(self, parts: list[Part]) -> spaces.Box:
        low = np.concatenate([np.full(part.size, part.low, dtype=np.float32) for part in parts])
        high = np.concatenate([np.full(part.size, part.high, dtype=np.float32) for part in parts])
        return spaces.Box(low, high, dtype=np.float32)

    def index_names(self, part: str | None = None) -> list[str]:
        """Names of the indices of one part, or of the whole flat observation."""
        chosen = self.by_name.values() if part is None else [self.by_name[part]]
        return [name for each in chosen for name in each.index_names()]

    def as_dict(self, flat: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Views [...,n] of the parts of a flat observation [...,N]."""
        return {name: flat[..., where] for name, where in self.parts.items()}

    def flatten(self, observation: Mapping[str, Any]) -> NDArray[np.float32]:
        """The flat observation [...,N] of a Dict of parts."""
        return np.concatenate([np.asarray(observation[name]) for name in self.parts], axis=-1)

    def physical(self, observation: Mapping[str, Any] | NDArray[np.float32]) -> dict[str, Floats]:
        """Values in units (float64), in the shape of each part, batch axes leading.

        Keys are those of `Exogenous` and `State` where there is one, and ``arrivals_before_gpuh [C,W]``,
        ``carbon_left_kg []``, ``clock [6]``, ``due_gpuh [C,W,max(D,1)]``, ``steps_left []``,
        ``forecast_{arrivals_gpuh [H,C], buy_usd_per_mwh, carbon_kg_per_mwh, renewable_mw [H,K]}`` and of
        the job slots ``job_{present, gpus, duration_steps, slack_steps, value_usd [V], open [V,K]}``, and
        ``forecast_{available_gpus, export_limit_mw, import_limit_mw} [H,K]`` where events may reduce them.
        Rows have all W entries: sessions have no backlog and are due at once, rows that wait have no
        placement. What the scenario does not have is 0 or, like the carbon left, infinite.
        """
        flat = self.flatten(observation) if isinstance(observation, Mapping) else observation
        part = parts_in_units(self, np.asarray(flat, dtype=np.float64), self.scales, self.offsets)
        return full_fields(self.compiled.shape, part)

    def rebuild(self, observation: Mapping[str, Any] | NDArray[np.float32]) -> tuple[State, Exogenous]:
        """State and exogenous input of the step to come, as far as they matter, from the observation alone.

        The jobs are those of the slots: J = V.  Work that is not bound to leave the queue counts as its
        limit.
        """
        return records(self.compiled.params, self.physical(observation))
