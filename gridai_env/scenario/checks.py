"""Checks across keys of a scenario.  Each check yields one line for each problem."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import isnan
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gridai_env.scenario.capacity import nameplate_gpus
from gridai_env.scenario.checks_of_lines import call_durations, constraint, line_limits, lines, power_modes
from gridai_env.scenario.errors import UNKNOWN, closest, problem, raise_all
from gridai_env.scenario.geography import rtt_keys
from gridai_env.scenario.spec import Scenario
from gridai_env.traces import known_zones

TOLERANCE = 1e-9
MOST_ROUTES = 1_000_000  # regions x classes x sites
MOST_ENTRIES = 5_000_000  # steps x (regions x classes + sites + jobs)

Check = Callable[[Scenario], Iterator[str]]


def check_scenario(scenario: Scenario, source: str | None = None) -> None:
    """Raise one ScenarioError that lists all contradictions; ``source`` (a file) opens its message."""
    raise_all(source or f"scenario {scenario.name!r}", contradictions(scenario))


def contradictions(s: Scenario) -> list[str]:
    """Return a line for each contradiction between keys."""
    found = [line for check in CHECKS for line in check(s)]
    return found if _hides_capacities(s) else [*found, *capacities(s)]


def _hides_capacities(s: Scenario) -> bool:
    """Return whether names or clocks are wrong: capacities follow from demand at the homes, by local time."""
    given = [site.name for site in s.sites] + [name for r in s.regions for name in (r.home, r.timezone)]
    return UNKNOWN in given or any(True for check in (names, places) for _ in check(s))


def is_multiple(value: float, step: float) -> bool:
    """Return whether ``value`` is 0 or a whole multiple of ``step``, at least one of it; or not known (NaN)."""
    count = value / step
    return value == 0 or isnan(count) or (abs(count - round(count)) < 1e-6 and round(count) >= 1)


def steps(s: Scenario) -> Iterator[str]:
    """Check that a step is whole minutes and divides an hour, and that all durations are whole steps."""
    if not _is_step(s.dt_h):
        yield problem("dt_h", s.dt_h, "1/n in whole minutes: 1, 0.5, 0.25, ...")
        return

    durations = [("horizon_h", s.horizon_h)]
    durations += [(f"forecast.leads_h[{i}]", lead) for i, lead in enumerate(s.forecast.leads_h)]
    durations += [(f"classes[{i}].wait_h", c.wait_h) for i, c in enumerate(s.classes)]
    for i, job in enumerate(s.jobs):
        of_job = ("duration_h", "release_h", "deadline_h", "release_jitter_h")
        durations += [(f"jobs[{i}].{key}", getattr(job, key)) for key in of_job]
    for i, event in enumerate(s.events):
        given = [(key, getattr(event, key)) for key in ("earliest_h", "latest_h", "duration_h")]
        durations += [(f"events[{i}].{key}", value) for key, value in given if value is not None]

    durations += call_durations(s)

    for key, value in durations:
        if not is_multiple(value, s.dt_h):
            yield problem(key, value, f"a whole number of steps of dt_h = {s.dt_h:g} h")


def _is_step(dt_h: float) -> bool:
    return not dt_h > 1 and is_multiple(dt_h, 1 / 60) and is_multiple(1.0, dt_h)


def sizes(s: Scenario) -> Iterator[str]:
    """Check that the arrays of a step and of an episode fit into memory."""
    rows, sites = len(s.regions) * len(s.classes), len(s.sites)
    if rows * sites > MOST_ROUTES:
        shown = f"{len(s.regions)} regions x {len(s.classes)} classes x {sites} sites"
        yield f"sites = {shown}: must be at most {MOST_ROUTES:,} routes [no unit] (leave some out)"
    most_h = MOST_ENTRIES / (rows + sites + len(s.jobs)) * s.dt_h
    if _is_step(s.dt_h) and s.horizon_h > most_h:
        allowed = f"at most {most_h:.0f} with so many regions, classes, sites and jobs at dt_h = {s.dt_h:g}"
        yield problem("horizon_h", s.horizon_h, allowed, "an episode must fit into memory")


def names(s: Scenario) -> Iterator[str]:
    """Check that names are unique and that everything referred to exists."""
    for kind in ("sites", "regions", "service_nodes", "classes", "jobs", "events"):
        seen: set[str] = set()
        for i, item in enumerate(getattr(s, kind) or []):
            if item.name in seen:
                yield problem(f"{kind}[{i}].name", item.name, f"unique in {kind}")
            seen.add(item.name)

    sites = [site.name for site in s.sites]
    if UNKNOWN in sites or len(set(sites)) < len(sites):
        return  # what a name refers to shows when the names of the sites are right
    references = [(f"regions[{i}].home", [r.home]) for i, r in enumerate(s.regions)]
    references += [(key, listed or []) for key, listed in _site_lists(s)]
    for key, used in references:
        for name in used:
            if name not in sites:
                yield problem(key, name, "the name of a site", closest(name, sites))

    for key, listed in _site_lists(s):
        yield from _different(key, listed, "sites", "null means all sites")


def _site_lists(s: Scenario) -> list[tuple[str, list[str] | None]]:
    lists = [(f"classes[{i}].supported_at", c.supported_at) for i, c in enumerate(s.classes)]
    lists += [(f"jobs[{i}].sites", j.sites) for i, j in enumerate(s.jobs)]
    lists += [("jobs_from.sites", s.jobs_from.sites)] if s.jobs_from is not None else []
    return lists + [(f"events[{i}].sites", e.sites) for i, e in enumerate(s.events)]


def places(s: Scenario) -> Iterator[str]:
    """Check time zones, entries of the RTT table, and that each legal zone in use has a service node."""
    for i, region in enumerate(s.regions):
        yield from _timezone(f"regions[{i}].timezone", region.timezone)
    for i, site in enumerate(s.sites):
        yield from _timezone(f"sites[{i}].timezone", "UTC" if site.timezone is None else site.timezone)

    for kind in ("sites", "regions", "service_nodes"):
        for i, place in enumerate(getattr(s, kind) or []):
            key, known = f"{kind}[{i}].rtt_key", rtt_keys()
            if place.rtt_key is not None and place.rtt_key not in known:
                advice = closest(place.rtt_key, known)
                yield problem(key, place.rtt_key, "null or a name of the RTT table", advice)

    # Bound work needs a service node in the legal zone of its home.
    legal = {node.legal_zone for node in s.service_nodes or s.sites}
    bound = any(c.law_bound_share > 0 or c.state_bound_share > 0 for c in s.classes)
    home_zones = {site.name: site.legal_zone for site in s.sites}
    for i, region in enumerate(s.regions):
        zone = home_zones.get(region.home)
        if bound and zone is not None and zone not in legal:
            allowed = f"in a legal zone with a service node ({', '.join(sorted(legal))})"
            yield problem(f"regions[{i}].home", region.home, allowed, "work bound by law or state needs one")


def zones(s: Scenario) -> Iterator[str]:
    """Check that synthetic traces know the zone of each site; what a trace file holds is checked when it is read."""
    if s.traces != "synthetic":
        return
    for i, site in enumerate(s.sites):
        if site.zone not in known_zones():
            allowed = "a zone of the synthetic traces, or name a trace file in traces"
            yield problem(f"sites[{i}].zone", site.zone, allowed, closest(site.zone, known_zones()))


def classes(s: Scenario) -> Iterator[str]:
    """Check shares, and that a class is supported at the home of every region."""
    total = sum(c.share for c in s.classes)
    if abs(total - 1.0) > 1e-6:
        listed = [c.share for c in s.classes]
        yield problem("classes[*].share", listed, f"shares that sum to 1; the sum is {total:g}")

    for i, task in enumerate(s.classes):
        bound = task.state_bound_share + task.law_bound_share
        if bound > 1.0 + TOLERANCE:
            advice = f"state_bound_share is {task.state_bound_share:g}"
            allowed = f"at most {1.0 - task.state_bound_share:g} so that both sum to at most 1"
            yield problem(f"classes[{i}].law_bound_share", task.law_bound_share, allowed, advice)
        # Home always stays open, so it must be able to serve every class.
        missing = {r.home for r in s.regions} - set(task.supported_at or ())
        if task.supported_at is not None and missing:
            allowed = f"a list with all homes; missing: {', '.join(sorted(missing))}"
            yield problem(f"classes[{i}].supported_at", task.supported_at, allowed, "home always stays open")


def power(s: Scenario) -> Iterator[str]:
    """Check the power of accelerators, batteries and generators."""
    for i, site in enumerate(s.sites):
        if site.busy_kw_per_gpu <= site.idle_kw_per_gpu:
            allowed = f"above idle_kw_per_gpu = {site.idle_kw_per_gpu:g}"
            yield problem(f"sites[{i}].busy_kw_per_gpu", site.busy_kw_per_gpu, allowed)
        yield from _battery(s, i)
        yield from _generator(s, i)


def _battery(s: Scenario, i: int) -> Iterator[str]:
    battery = s.sites[i].battery
    if battery is None:
        return
    key = f"sites[{i}].battery"
    if battery.min_share >= battery.max_share:
        yield problem(f"{key}.max_share", battery.max_share, f"in (min_share = {battery.min_share:g}, 1]")
    for name in ("initial_share", "target_share"):
        value = getattr(battery, name)
        if not battery.min_share - TOLERANCE <= value <= battery.max_share + TOLERANCE:
            allowed = f"in [min_share = {battery.min_share:g}, max_share = {battery.max_share:g}]"
            yield problem(f"{key}.{name}", value, allowed)


def _generator(s: Scenario, i: int) -> Iterator[str]:
    unit = s.sites[i].generator
    if unit is None:
        return
    key = f"sites[{i}].generator"
    if unit.min_load_mw > unit.capacity_mw:
        allowed = f"in [0, capacity_mw = {unit.capacity_mw:g}]"
        yield problem(f"{key}.min_load_mw", unit.min_load_mw, allowed)
    if unit.initial_mw > unit.capacity_mw or 0 < unit.initial_mw < unit.min_load_mw:
        allowed = f"0 or in [min_load_mw = {unit.min_load_mw:g}, capacity_mw = {unit.capacity_mw:g}]"
        yield problem(f"{key}.initial_mw", unit.initial_mw, allowed)

    # From standstill the output rises by at most one ramp per step.
    if _is_step(s.dt_h) and unit.ramp_mw_per_h * s.dt_h < unit.min_load_mw - TOLERANCE:
        allowed = f"at least min_load_mw / dt_h = {unit.min_load_mw / s.dt_h:g}"
        yield problem(f"{key}.ramp_mw_per_h", unit.ramp_mw_per_h, allowed, "it could never start")


def jobs(s: Scenario) -> Iterator[str]:
    """Check that each job can be done between release and deadline, with any jitter, within the horizon."""
    for i, job in enumerate(s.jobs):
        key = f"jobs[{i}]"
        if job.release_h + job.duration_h > job.deadline_h + TOLERANCE:
            allowed = f"at least release_h + duration_h = {job.release_h + job.duration_h:g}"
            yield problem(f"{key}.deadline_h", job.deadline_h, allowed)
        if job.release_h - job.release_jitter_h < -TOLERANCE:
            allowed = f"in [0, release_h = {job.release_h:g}]"
            yield problem(f"{key}.release_jitter_h", job.release_jitter_h, allowed, "before the episode")
        if job.deadline_h + job.release_jitter_h > s.horizon_h + TOLERANCE:
            allowed = f"at most horizon_h - release_jitter_h = {s.horizon_h - job.release_jitter_h:g}"
            yield problem(f"{key}.deadline_h", job.deadline_h, allowed, "the episode ends there")


def events(s: Scenario) -> Iterator[str]:
    """Check windows of events, and that limits are only reduced and prices only shifted by price events."""
    for i, event in enumerate(s.events):
        key = f"events[{i}]"
        if event.earliest_h >= s.horizon_h:
            yield problem(f"{key}.earliest_h", event.earliest_h, f"in [0, horizon_h = {s.horizon_h:g})")
        last = s.horizon_h if event.latest_h is None else event.latest_h
        if event.latest_h is not None and not event.earliest_h <= last <= s.horizon_h:
            allowed = f"in [earliest_h = {event.earliest_h:g}, horizon_h = {s.horizon_h:g}]"
            yield problem(f"{key}.latest_h", event.latest_h, allowed)

        if event.kind != "price" and event.factor > 1:
            yield problem(f"{key}.factor", event.factor, f"in [0, 1] for kind {event.kind!r}")
        if event.kind != "price" and event.add_usd_per_mwh != 0:
            yield problem(f"{key}.add_usd_per_mwh", event.add_usd_per_mwh, f"0 for kind {event.kind!r}")


def demand(s: Scenario) -> Iterator[str]:
    """Check the classes and the time zone that demand from a file names; the file is checked when it is read."""
    listed, known = s.demand.classes, [c.name for c in s.classes]
    for name in listed or []:
        if name not in known:
            yield problem("demand.classes", name, "the name of a class", closest(name, known))
    yield from _different("demand.classes", listed, "classes", "null means all")
    yield from _timezone("demand.timezone", s.demand.timezone)


def _different(key: str, listed: list[str] | None, kind: str, advice: str) -> Iterator[str]:
    if listed is not None and (not listed or len(set(listed)) < len(listed)):
        yield problem(key, listed, f"a list of different {kind}, at least one", advice)


def _timezone(key: str, name: str) -> Iterator[str]:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield problem(key, name, "an IANA time zone such as 'Europe/Berlin'")


def clocks(s: Scenario) -> Iterator[str]:
    """Check the start days and the forecast."""
    if s.start.last < s.start.first:
        yield problem("start.last", s.start.last.isoformat(), f"no day before first = {s.start.first}")

    before = None
    for i, part in enumerate(s.start.periods or []):
        if not (s.start.first <= part.first <= part.last <= s.start.last):
            allowed = f"first to last inside [{s.start.first}, {s.start.last}]"
            yield problem(f"start.periods[{i}]", f"{part.first} to {part.last}", allowed)
        if before is not None and part.first <= before:
            yield problem(f"start.periods[{i}].first", part.first.isoformat(), f"a day after {before}")
        before = part.last

    leads = s.forecast.leads_h
    if any(b <= a for a, b in pairwise(leads)):
        yield problem("forecast.leads_h", leads, "a rising list")
    if s.forecast.skill_last > s.forecast.skill_first:
        allowed = f"in [0, skill_first = {s.forecast.skill_first:g}]"
        yield problem("forecast.skill_last", s.forecast.skill_last, allowed)


CHECKS: tuple[Check, ...] = (
    names, steps, sizes, places, zones, classes, power, jobs, events, demand, clocks, lines, power_modes,
    constraint,
)  # fmt: skip


def capacities(s: Scenario) -> Iterator[str]:
    """Check that every site has accelerators and that jobs fit where they may run."""
    homes = {region.home for region in s.regions}
    lost = [i for i, site in enumerate(s.sites) if site.gpus is None and site.name not in homes]
    for i in lost:
        advice = "no region has its home here, so capacity_slack gives none"
        yield problem(f"sites[{i}].gpus", None, "a number in (0, inf)", advice)
    if lost:
        return

    yield from line_limits(s)
    # Capacities of the other sites follow from demand, so jobs are compared with what was computed.
    sites = zip(s.sites, nameplate_gpus(s), strict=True)
    room = {site.name: site.utilisation_limit * gpus for site, gpus in sites}

    for i, job in enumerate(s.jobs):
        # A job that names no site needs only one that is large enough.
        for name in job.sites or [max(room, key=lambda name: room[name])]:
            if not job.gpus * (1.0 + job.size_jitter) <= room[name]:
                allowed = f"at most {room[name] / (1.0 + job.size_jitter):g} to fit site {name!r}"
                advice = "utilisation_limit x GPUs of the site / (1 + size_jitter)"
                yield problem(f"jobs[{i}].gpus", job.gpus, allowed, advice)
