"""Job tables: by hand and by their own definitions."""

import numpy as np
import pytest

from gridai_env.episodes.jobs import draw_jobs
from gridai_env.episodes.starts import streams
from tests.support.small_scenario import SMALL, small


def test_jobs_are_sorted_by_latest_start_and_stay_inside() -> None:
    compiled = small()
    jobs = draw_jobs(compiled, streams(range(300), "jobs"))
    assert (np.diff(jobs.latest_start, axis=1) >= 0).all()
    assert (jobs.release >= 0).all()
    duration = jobs.profile.sum(-1)
    assert (jobs.latest_start + duration <= 48).all()
    late = jobs.order == 0
    assert set((jobs.release[late] - 10).tolist()) == set(range(-6, 7))
    assert set((jobs.release[~late] - 2).tolist()) == set(range(-2, 3))
    assert (jobs.latest_start - jobs.release == np.where(late, 25, 31)).all()
    assert 160 <= jobs.gpus[late].min() < 165
    assert 235 < jobs.gpus[late].max() <= 240
    assert (jobs.gpus[~late] == 100).all()
    assert jobs.value_usd[late] == pytest.approx(300 * jobs.gpus[late] / 200)


def test_job_windows_profiles_and_sites_by_hand() -> None:
    fixed = [{**job, "release_jitter_h": 0.0, "size_jitter": 0.0} for job in SMALL["jobs"]]
    jobs = draw_jobs(small(jobs=fixed), streams([0], "jobs"))
    assert jobs.order[0].tolist() == [1, 0]  # latest starts 33 and 35
    assert jobs.profile[0].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert np.flatnonzero(jobs.open[0, :, 0, 1]).tolist() == list(range(2, 34))
    assert not jobs.open[0, :, 0, 0].any()
    assert np.flatnonzero(jobs.open[0, :, 1, 0]).tolist() == list(range(10, 36))


def test_ties_keep_the_order_of_the_scenario() -> None:
    job = {**SMALL["jobs"][1], "release_jitter_h": 0.0}
    jobs = draw_jobs(small(jobs=[{**job, "name": name} for name in "abc"]), streams([3], "jobs"))
    assert jobs.order[0].tolist() == [0, 1, 2]


def test_no_jobs() -> None:
    jobs = draw_jobs(small(jobs=[]), streams([0, 1], "jobs"))
    assert jobs.open.shape == (2, 48, 0, 2)
    assert jobs.profile.shape == (2, 0, 1)
    assert jobs.gpus.shape == (2, 0)
