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

from gridai_env.arrays.draws import Draws, as_draws, everyone
from gridai_env.arrays.ops import as_int32, constant, namespace, real, stable_argsort, take_rows, to_int64
from gridai_env.arrays.types import Array, Float, Int
from gridai_env.scenario.compile import Compiled


@dataclass(frozen=True)
class JobTable:
    """The jobs of a batch, most urgent first."""

    order: Int[Array, "B J"]  # index of the job in the scenario
    gpus: Float[Array, "B J"]  # accelerators, after jitter
    profile: Float[Array, "B J N"]  # 1.0 in the steps after the start in which the job runs
    value_usd: Float[Array, "B J"]  # value on start; per accelerator-hour it is the scenario's
    release: Int[Array, "B J"]  # first step in which it may start
    latest_start: Int[Array, "B J"]  # last step in which it may start
    open: Float[Array, "B T J K"]  # 1.0 where it may be started


def draw_jobs(compiled: Compiled, rngs: Sequence[np.random.Generator] | Draws) -> JobTable:
    """Draw the jobs of a batch (one generator per episode, or draws).

    The window shifts as a whole by a whole number of steps, up to the job's jitter either way, and stays
    inside the episode.  The value grows with the size.
    """
    shape, draws = compiled.shape, as_draws(rngs)
    numbers = draws.uniforms(everyone(draws), 2, shape.jobs)
    xp = namespace(numbers)
    release, latest = _windows(compiled, numbers[:, 0])
    size = 1.0 + constant(compiled.job_size_jitter, numbers) * (2.0 * numbers[:, 1] - 1.0)

    order = stable_argsort(latest)  # ties keep the order of the scenario
    release, latest, size = (xp.take_along_axis(x, order, axis=-1) for x in (release, latest, size))
    duration = take_rows(constant(compiled.job_duration_steps, numbers), order)
    running = constant(np.arange(shape.job_steps), numbers) < duration[..., None]
    allowed = take_rows(constant(compiled.job_allowed, numbers), order)
    return JobTable(
        order=order,
        gpus=take_rows(constant(compiled.job_gpus, numbers), order) * size,
        profile=real(running, numbers),
        value_usd=take_rows(constant(compiled.job_value_usd, numbers), order) * size,
        release=release,
        latest_start=latest,
        open=real(_open(release, latest, allowed, shape.steps), numbers),
    )


def _open(release: Array, latest: Array, allowed: Array, steps: int) -> Array:
    """Return yes in the windows [B,J] at the sites allowed [B,J,K], [B,T,J,K]."""
    xp = namespace(allowed)
    flat = (allowed.shape[0], 1, allowed.shape[1] * allowed.shape[2])
    step = constant(np.arange(steps, dtype=np.int32)[:, None], allowed)
    # Where a site is not allowed, the window never begins.
    first = as_int32(xp.where(allowed, release[..., None], steps)).reshape(flat)
    last = as_int32(xp.broadcast_to(latest[..., None], allowed.shape)).reshape(flat)
    is_open = step >= first
    is_open &= step <= last
    return is_open.reshape(allowed.shape[0], steps, *allowed.shape[1:])


def _windows(compiled: Compiled, draws: Array) -> tuple[Array, Array]:
    """Return first and last start step [B,J]; every shift from -jitter to +jitter is equally likely."""
    xp, jitter = namespace(draws), compiled.job_jitter_steps
    shift = to_int64(xp.floor(draws * constant(2 * jitter + 1, draws))) - constant(jitter, draws)
    room_before, room_after = compiled.job_release_steps, compiled.shape.steps - compiled.job_deadline_steps
    shift = xp.clip(shift, constant(-room_before, draws), constant(room_after, draws))
    release = constant(compiled.job_release_steps, draws) + shift
    slack = compiled.job_deadline_steps - compiled.job_release_steps - compiled.job_duration_steps
    return release, release + constant(slack, draws)
