"""Synthetic series of grid zones: the model of `calibration` driven by correlated random residuals.

An episode is a pure function of (zones, start, steps, dt) and its own draws: one call of `Draws.normals` per
episode, and no operation that mixes episodes.  Times of day enter as indices (`month_hour_cells`) that the host
computes, so that the rest runs on any device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from gridai_env.arrays import ops
from gridai_env.arrays.draws import Draws, as_draws, in_parts
from gridai_env.arrays.types import Array, Float, Floats, Int, Ints
from gridai_env.traces.calibration import (
    CALIBRATED,
    EXCESS_KNOTS,
    KNOTS,
    MARGINAL_AT_SURPLUS,
    SPIKE_FROM_PRICE,
    VARIABLES,
    zone_calibration,
)
from gridai_env.traces.errors import TraceError
from gridai_env.traces.local_time import local_minutes, month_hour, step_minutes
from gridai_env.traces.series import CLIMATOLOGY_OF, StepGrid, ZoneSeries, step_grid
from gridai_env.traces.zone_tables import ZoneModel, zone_model

EPISODES = 16  # at a time: what is worked on stays in the processor's cache


def synthetic_series(
    zones: Sequence[str],
    start_utc: Shaped[np.ndarray, " B"],
    steps: int,
    dt_h: float,
    rngs: Sequence[np.random.Generator] | Draws,
) -> ZoneSeries:
    """Return random series of B episodes; episode b depends on `start_utc[b]` and `rngs[b]` alone, bit for bit.

    Hourly values are drawn; where dt < 1 h price and carbon stay constant inside the hour and weather is
    linear between the centres of the hours (held in the first half hour). Raises TraceError for an unknown or
    repeated zone, a bad clock, or a number of generators other than B.
    """
    model = zone_model(tuple(zones))
    start = np.asarray(start_utc)
    grid = step_grid(start, steps, dt_h)
    draws = as_draws(rngs)
    if len(draws) != len(grid.first_hour):
        raise TraceError(
            f"rngs: need one generator per episode, got {len(draws)} for {len(grid.first_hour)} starts"
        )
    cells = month_hour_cells(model.zones, grid.first_hour, grid.hours)
    return series_of_model(model, grid, cells, start.astype("datetime64[m]"), dt_h, draws)


def series_of_model(
    model: ZoneModel,
    grid: StepGrid,
    cells: Int[Array, "B hours Z"],
    start_utc: Shaped[Array, " B"],
    dt_h: float,
    draws: Draws,
) -> ZoneSeries:
    """Return the series of a model's zones; ``cells`` as from `month_hour_cells`."""
    values = in_parts(draws, EPISODES, lambda few: _draw(model, cells[few], draws, few))
    hourly = dict(zip(VARIABLES, values, strict=True))
    usual = model.marginal_normal_kg_per_mwh
    surplus = hourly["price"] <= 0.0
    hourly["marginal"] = ops.namespace(surplus).where(surplus, MARGINAL_AT_SURPLUS * usual, usual)
    shown = {name: grid.on_steps(name, hourly[own]) for name, own in CALIBRATED.items()}
    for name, climatology in CLIMATOLOGY_OF.items():
        shown[climatology] = grid.on_steps(name, ops.take_rows(model.climatology[CALIBRATED[name]], cells))

    return ZoneSeries(
        zones=model.zones, start_utc=start_utc, dt_h=dt_h, **shown, provenance=dict(model.provenance)
    )


def month_hour_cells(
    zones: tuple[str, ...], first_hour: Shaped[np.ndarray, " B"], hours: int
) -> Int[Ints, "B hours Z"]:
    """Return the index `zone*288 + month*24 + hour` (local) of every hour."""
    timezones = [zone_calibration(zone).timezone for zone in zones]
    month, hour = month_hour(local_minutes(timezones, step_minutes(first_hour, 0, hours, 1.0)))
    return np.arange(len(zones)) * 288 + month * 24 + hour


def climatology_hourly(
    zone: str, first_hour: Shaped[np.ndarray, " B"], hours: int
) -> dict[str, Float[Floats, "B hours"]]:
    """Return month-hour means of a calibrated zone: price, carbon, marginal, wetbulb, pv, wind."""
    cells = month_hour_cells((zone,), first_hour, hours)[:, :, 0]
    return {name: values.take(cells) for name, values in zone_calibration(zone).climatology.items()}


def _draw(
    model: ZoneModel, cells: Int[Array, "b hours Z"], draws: Draws, few: slice
) -> tuple[Float[Array, "b hours Z"], ...]:
    """Return hourly values of the VARIABLES."""
    residual, trigger, size = _latent(model, draws, few, cells.shape[1])
    month = cells // 24
    values = dict(zip(VARIABLES, _values(model, cells, month, residual), strict=True))

    pv = values["pv"] * ops.take_rows(model.pv_profile, cells)
    values["pv"] = ops.namespace(pv).minimum(ops.take_rows(model.pv_highest, month), pv)

    # Spikes are rare: their prices are worked out only where there are some.
    spike = trigger > ops.take_rows(model.spike_level, cells)
    values["price"] = ops.update_where(
        spike, values["price"], lambda at, how: _spikes_usd_per_mwh(model, at, how), month, size
    )
    return tuple(values.values())


def _latent(
    model: ZoneModel, draws: Draws, few: slice, hours: int
) -> tuple[list[Float[Array, "b hours Z"]], Float[Array, "b hours Z"], Float[Array, "b hours Z"]]:
    """Return standard normals with memory: residuals of the VARIABLES, trigger and size of spikes."""
    drive, count, variables = model.drive, len(model.zones), len(VARIABLES)
    normals = draws.normals(few, hours, drive.phi.shape[0])
    memory = ops.empty(normals.shape, normals)
    for block, start, innovation in zip(drive.columns, drive.start, drive.innovation, strict=True):
        ops.matmul_rows(normals[..., block], innovation, memory[..., block])
        memory[:, 0, block] = ops.mixed_row(normals[:, 0, block], start)
    memory = ops.decay(memory, drive.phi)

    # The columns of `Drive`: slow and fast part of each variable, own part of the trigger, size.
    parts = [memory[..., at : at + count] for at in range(0, memory.shape[-1], count)]
    residual = [slow + fast for slow, fast in zip(parts[:variables], parts[variables:-2], strict=True)]
    own, size = parts[-2:]
    return residual, SPIKE_FROM_PRICE * residual[VARIABLES.index("price")] + own, size


def _values(
    model: ZoneModel,
    cells: Int[Array, "b hours Z"],
    month: Int[Array, "b hours Z"],
    residual: list[Float[Array, "b hours Z"]],
) -> list[Float[Array, "b hours Z"]]:
    """Return the quantiles of the residuals; those of PV are relative.  Overwrites the residuals."""
    base, values = month * len(KNOTS), []
    for v, place in enumerate(residual):
        place *= ops.take_rows(model.place_spread[v], cells)
        place += ops.take_rows(model.place_shift[v], cells)
        values.append(_interpolate(model.quantiles[v], len(KNOTS), base, place))
    return values


def _spikes_usd_per_mwh(
    model: ZoneModel, month: Int[Array, " spikes"], size: Float[Array, " spikes"]
) -> Float[Array, " spikes"]:
    """Return prices of spikes in months `zone * 12 + month`: cap + excess."""
    count = len(EXCESS_KNOTS)
    place = (size - float(EXCESS_KNOTS[0])) / float(EXCESS_KNOTS[1] - EXCESS_KNOTS[0])
    excess = _interpolate(model.spike_excess_shape, count, month // 12 * count, place)
    return (
        ops.take_rows(model.spike_cap_usd_per_mwh, month)
        + ops.take_rows(model.spike_mean_excess_usd_per_mwh, month) * excess
    )


def _interpolate(
    table: Float[Array, " n"], count: int, base: Int[Array, "*batch"], place: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Return `table[base + place]`, linear between the `count` knots, flat beyond the ends.

    `place` counts knots.  Works in place: new arrays of this size would cost more than the arithmetic.
    """
    place = ops.namespace(place).clip(place, 0.0, count - 1.0)
    left = ops.namespace(place).minimum(ops.to_int64(place), count - 2)
    place -= left
    left += base

    low = ops.take_rows(table, left)
    left += 1
    value = ops.take_rows(table, left)
    value -= low
    value *= place
    value += low
    return value
