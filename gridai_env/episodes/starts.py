"""When episodes start, and the random streams of their features."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import reduce
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gridai_env.arrays.draws import EpisodeDraws
from gridai_env.files import InstanceError
from gridai_env.scenario.compile import Compiled
from gridai_env.traces import TraceTable

Start = str | date | np.datetime64  # in UTC
Starts = NDArray[np.datetime64]

SERIES = {"pv_mw": "pv_cf", "wind_mw": "wind_cf"}  # installed power, column of its share
# Each feature of an episode has a stream of its own, so that changing one does not shift the others.
STREAMS = ("start", "traces", "demand", "jobs", "events", "forecast", "calls")


def streams(seeds: Sequence[int], feature: str) -> list[np.random.Generator]:
    """Return the generator of one feature for each seed: child number i of the seed's SeedSequence."""
    key = (STREAMS.index(feature),)
    return [
        np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))) for seed in seeds
    ]


def checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Return the seeds as integers; raises InstanceError where there are none or one is no integer >= 0."""
    if len(seeds) == 0:
        raise InstanceError("seeds: need at least one, got none")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise InstanceError(f"seed = {seed!r}: must be an integer >= 0")
    return tuple(int(seed) for seed in seeds)


def parse_start(start: Start) -> np.datetime64:
    """Return a start as datetime64[m] in UTC.  Text is ISO 8601; a time without a zone is taken as UTC."""
    if isinstance(start, np.datetime64):
        return start.astype("datetime64[m]")
    try:
        moment = datetime.fromisoformat(start) if isinstance(start, str) else start
        if isinstance(moment, datetime) and moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        if not isinstance(moment, date):
            raise TypeError(f"found {type(moment).__name__}")
        return np.datetime64(moment).astype("datetime64[m]")
    except (ValueError, TypeError) as error:
        raise InstanceError(f"start = {start!r}: must be a UTC time such as '2023-07-01T00:00'") from error


def whole_start(start: Start, dt_h: float) -> np.datetime64:
    """Return a start that the user gave; raises InstanceError where it is no whole number of steps."""
    moment = parse_start(start)
    if moment.astype(np.int64) % round(dt_h * 60):
        raise InstanceError(f"start = {start!r}: must be a multiple of dt_h = {dt_h:g} h after midnight UTC")
    return moment


def given_starts(start: Start | Sequence[Start] | Starts, count: int, dt_h: float) -> np.ndarray:
    """Return the starts of ``count`` episodes, datetime64[m] [B]: one for all, or a list with one for each.

    Raises InstanceError where one is no whole number of steps, or the list has another length.
    """
    if isinstance(start, Start):
        return np.full(count, whole_start(start, dt_h))
    if not isinstance(start, Sequence | np.ndarray) or len(start) != count:
        many = f"a list of {len(start)}" if isinstance(start, Sequence | np.ndarray) else repr(start)
        raise InstanceError(
            f"start = {many}: must be a UTC time such as '2023-07-01T00:00'"
            + (f", or a list of {count}, one for each episode" if count > 1 else "")
        )
    return np.array([whole_start(each, dt_h) for each in start])


def draw_starts(choices: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    """Return one of the possible starts for each seed, all equally likely, datetime64[m] [B]."""
    return choices[EpisodeDraws(streams(seeds, "start")).indices(len(choices))]


def check_renewables(compiled: Compiled, table: TraceTable) -> None:
    """Raise InstanceError where a site or a contract has PV or wind in a zone for which the file has no series."""
    for site in compiled.scenario.sites:
        owners = [
            (f"site {site.name!r}", site),
            *((f"line {x.name!r} of {site.name!r}", x) for x in site.lines),
        ]
        for (owner, sizes), (size, column) in product(owners, SERIES.items()):
            if getattr(sizes, size) > 0 and column in table.left_out(site.zone):
                raise InstanceError(
                    f"{table.source}: zone {site.zone!r} has no column {column} and is not calibrated, but {owner} "
                    f"has {size} = {getattr(sizes, size):g}; add {column} (0 to 1), or set {size}: 0"
                )


def mean_contracts(compiled: Compiled, table: TraceTable) -> list[str]:
    """Return in words which contracts have a mean of the calibration for a profile, since the file has no series."""
    names, lines = compiled.site_names, compiled.lines.matching
    return [
        f"contract {names[rule.site]}/{rule.spec.name}: {column} is not in the file, it is a "
        f"{table.origin(zone)[column]}: matched more evenly than any hour of a year"
        for rule in lines
        for size, column in SERIES.items()
        if getattr(rule.spec, size) > 0 and column not in table.raw.columns
        for zone in [compiled.scenario.sites[rule.site].zone]
    ]


def table_starts(
    compiled: Compiled, table: TraceTable | None, lead_in: int, demand: TraceTable | None = None
) -> tuple[np.ndarray, str]:
    """Return the possible starts in files, datetime64[m], and a sentence that says how they were chosen.

    ``table`` holds the zones, ``demand`` the regions; None: synthetic.

    Each has ``lead_in`` steps of history.  Where no day of the scenario lies in the file, all days of the
    file count; where no start has the scenario's hour, all hours.  Raises InstanceError where the file is too
    short.
    """
    wanted, dt_h = compiled.synthetic_starts, compiled.shape.dt_h
    both = ((table, compiled.sites.zones), (demand, compiled.region_names))
    covers = [(file, names) for file, names in both if file is not None]
    steps = lead_in + compiled.shape.steps
    before = np.timedelta64(round(lead_in * dt_h * 60), "m")
    valid = reduce(np.intersect1d, [file.valid_starts(names, steps, dt_h) for file, names in covers]) + before
    if not valid.size:
        sources = " and ".join(file.source for file, _ in covers)
        places = ", ".join(name for _, names in covers for name in names)
        spans = "; ".join(file.coverage(name) for file, names in covers for name in names)
        cures = dict.fromkeys(cure for file, names in covers for name in names for cure in file.cures(name))
        raise InstanceError(
            f"{sources}: no {steps * dt_h:g} h in a row without a gap in {places} (horizon and a day of "
            f"history before it): {spans}; {', '.join([*cures, 'lengthen the file'])}, or use a shorter "
            "horizon_h"
        )

    at_hour = np.isin(valid.astype(np.int64) % 1440, wanted.astype(np.int64) % 1440)
    chosen = valid[at_hour & np.isin(valid, wanted)]
    if chosen.size:
        return chosen, f"drawn from {chosen.size} valid starts in the scenario's dates"
    if at_hour.any():
        return valid[at_hour], "drawn from all valid days of the file: it has none of the scenario's dates"
    return valid, "drawn from all valid hours of the file: none has the scenario's dates and hour"
