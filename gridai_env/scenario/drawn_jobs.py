"""Training jobs of a scenario drawn from a file of batch jobs.

A window of one horizon is drawn from the file (hours from its start), and of the jobs that arrive in it and fit
(length, size, deadline before the end) ``count`` are drawn, none twice.  Release is the arrival rounded up to a
step, duration the length rounded up, deadline ``release + (1 + slack) * duration`` rounded up, the size
``mean_gpus`` times the job's size over the mean of the file, the value ``value_usd_per_gpuh`` for each GPU-h.

They are drawn when the scenario is read and stand in its ``jobs`` from then on: the file is not needed again, and
each episode has the same jobs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.scenario.capacity import nameplate_gpus
from gridai_env.scenario.errors import ScenarioError
from gridai_env.scenario.spec import Job, JobsFrom, Scenario
from gridai_env.traces.files.jobs import JobRows, read_job_rows

WHOLE = 1e-9  # of a step: what rounding leaves of a length that is whole


def with_drawn_jobs(scenario: Scenario, where: str) -> Scenario:
    """Return the scenario with the jobs of its ``jobs_from`` in ``jobs``; as it is where they are there already.

    ``where`` names the scenario in errors.  Raises ScenarioError where too few jobs fit, TraceError and
    FileNotFoundError for the file.
    """
    spec = scenario.jobs_from
    if spec is None or spec.drawn is not None:
        return scenario
    rows = read_job_rows(spec.source)
    rng = np.random.default_rng(spec.seed)
    first_h = float(rng.integers(max(int(rows.arrival_h[-1] - scenario.horizon_h), 0) + 1))
    gpus = spec.mean_gpus * rows.size / _mean_size(rows, spec, where)
    release, duration, deadline = _windows(scenario, rows, spec.slack, first_h)

    fits = _in_limits(rows, spec) & (gpus > 0) & (gpus <= _most_gpus(scenario, spec))
    fits &= (rows.arrival_h >= first_h) & (deadline <= scenario.steps)
    if fits.sum() < spec.count:
        raise ScenarioError(
            f"{where}: jobs_from.count = {spec.count}: only {fits.sum()} jobs of {rows.source} fit into "
            f"{scenario.horizon_h:g} h from its hour {first_h:g}; lower count, slack or min_duration_h, raise "
            "max_gpus, or choose another seed"
        )

    # Drawn jobs keep the order of the file.
    chosen = np.sort(rng.choice(np.flatnonzero(fits), spec.count, replace=False))
    steps = np.stack([release, duration, deadline], axis=-1)
    jobs = [_job(spec, f"{rows.form}-{i + 1}", gpus[i], steps[i], scenario.dt_h) for i in chosen]
    drawn = (
        f"{Path(rows.source).name} (sha256 {rows.sha256[:12]}, {rows.form}): {spec.count} of {fits.sum()} jobs that "
        f"fit, seed {spec.seed}, from its hour {first_h:g}"
    )
    changes = {"jobs": [*scenario.jobs, *jobs], "jobs_from": spec.model_copy(update={"drawn": drawn})}
    return scenario.model_copy(update=changes)


def _job(spec: JobsFrom, name: str, gpus: float, steps: Float[Floats, 3], dt_h: float) -> Job:
    """Return the job that takes these steps: release, duration and deadline."""
    release, duration, deadline = steps
    return Job(
        name=name,
        gpus=float(gpus),
        duration_h=float(duration * dt_h),
        release_h=float(release * dt_h),
        deadline_h=float(deadline * dt_h),
        value_usd=float(spec.value_usd_per_gpuh * gpus * duration * dt_h),
        sites=spec.sites,
    )


def _in_limits(rows: JobRows, spec: JobsFrom) -> np.ndarray:
    longest = np.inf if spec.max_duration_h is None else spec.max_duration_h
    return (rows.duration_h > 0) & (rows.duration_h >= spec.min_duration_h) & (rows.duration_h <= longest)


def _mean_size(rows: JobRows, spec: JobsFrom, where: str) -> float:
    """Return the mean size of the jobs of the file that are neither too short nor too long."""
    inside = _in_limits(rows, spec)
    mean = float(rows.size[inside].mean()) if inside.any() else 0.0
    if mean <= 0:
        raise ScenarioError(
            f"{where}: jobs_from.min_duration_h = {spec.min_duration_h:g}: no job of {rows.source} with a size lies "
            "between it and max_duration_h [h]; widen them"
        )
    return mean


def _windows(
    scenario: Scenario, rows: JobRows, slack: float, first_h: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return release, duration and deadline in steps from hour ``first_h`` of the file, [N] each."""

    def steps(hours: np.ndarray) -> np.ndarray:
        return np.ceil(hours / scenario.dt_h - WHOLE)

    release = np.maximum(steps(rows.arrival_h - first_h), 0.0)
    duration = np.maximum(steps(rows.duration_h), 1.0)
    return release, duration, release + np.ceil(duration * (1.0 + slack) - WHOLE)


def _most_gpus(scenario: Scenario, spec: JobsFrom) -> float:
    """Return the largest job that may be drawn: no larger than each named site, or the largest site, can hold."""
    limits = np.array([site.utilisation_limit for site in scenario.sites])
    room = limits * nameplate_gpus(scenario)
    if spec.sites is not None:
        most = float(min(room[scenario.index_of_site(name)] for name in spec.sites))
    else:
        most = float(room.max())
    return most if spec.max_gpus is None else min(most, spec.max_gpus)
