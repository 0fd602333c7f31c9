"""Training jobs of a batch of episodes: jitter of window and size, order by urgency, where and when they
start.

Jobs are renumbered in every episode by their latest start, so that a slot of the action means "the k-th most
urgent".  ``order`` leads back to the jobs of the scenario.

Shapes: B episodes, T steps, J jobs, N steps of the longest job, K sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridai_env.compile import Compiled


@dataclass(frozen=True)
class JobTable:
    """The jobs of a batch, most urgent first."""

    order: np.ndarray  # [B,J] int: index of the job in the scenario
    gpus: np.ndarray  # [B,J] accelerators, after jitter
    profile: np.ndarray  # [B,J,N] 1.0 in the steps after the start in which the job runs
    value_usd: np.ndarray  # [B,J] value on start; per accelerator-hour it is the scenario's
    release: np.ndarray  # [B,J] int: first step in which it may start
    latest_start: np.ndarray  # [B,J] int: last step in which it may start
    open: np.ndarray  # [B,T,J,K] 1.0 where it may be started


def draw_jobs(compiled: Compiled, rngs: Sequence[np.random.Generator]) -> JobTable:
    """Draw the jobs of a batch, one generator per episode.

    The window shifts as a whole by a whole number of steps, up to the job's jitter either way, and stays
    inside the episode.  The value grows with the size.
    """
    shape = compiled.shape
    draws = np.empty((len(rngs), 2, shape.jobs))
    for row, rng in zip(draws, rngs, strict=True):
        rng.random(out=row)
    release, latest = _windows(compiled, draws[:, 0])
    size = 1.0 + compiled.job_size_jitter * (2.0 * draws[:, 1] - 1.0)

    # Ties keep the order of the scenario (stable sort).
    order = np.argsort(latest, axis=-1, kind="stable")
    release, latest, size = (np.take_along_axis(x, order, axis=-1) for x in (release, latest, size))
    duration = compiled.job_duration_steps[order]
    return JobTable(
        order=order,
        gpus=compiled.job_gpus[order] * size,
        profile=(np.arange(shape.job_steps) < duration[..., None]).astype(float),
        value_usd=compiled.job_value_usd[order] * size,
        release=release,
        latest_start=latest,
        open=_open(release, latest, compiled.job_allowed[order], shape.steps),
    )


def _open(release: np.ndarray, latest: np.ndarray, allowed: np.ndarray, steps: int) -> np.ndarray:
    """Return 1.0 in the windows [B,J] at the sites allowed [B,J,K], [B,T,J,K]."""
    flat = (len(release), 1, -1)
    step = np.arange(steps, dtype=np.int32)[:, None]
    # Where a site is not allowed, the window never begins.
    first = np.where(allowed, release[..., None], steps).astype(np.int32).reshape(flat)
    last = np.broadcast_to(latest[..., None], allowed.shape).astype(np.int32).reshape(flat)
    is_open = step >= first
    is_open &= step <= last
    return is_open.astype(float).reshape(len(release), steps, *allowed.shape[1:])


def _windows(compiled: Compiled, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return first and last start step [B,J]; every shift from -jitter to +jitter is equally likely."""
    jitter = compiled.job_jitter_steps
    shift = np.floor(draws * (2 * jitter + 1)).astype(np.int64) - jitter
    room_before, room_after = compiled.job_release_steps, compiled.shape.steps - compiled.job_deadline_steps
    shift = np.clip(shift, -room_before, room_after)
    release = compiled.job_release_steps + shift
    return release, release + _slack_steps(compiled)


def _slack_steps(compiled: Compiled) -> np.ndarray:
    """Return the steps [J] by which a start may be delayed after release."""
    return compiled.job_deadline_steps - compiled.job_release_steps - compiled.job_duration_steps
