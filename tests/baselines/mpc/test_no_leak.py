"""Nothing seen or decided in a step depends on hours beyond the longest lead, in files of any zone and without one.

The prices of the last resorts (load shed, accelerators taken from jobs) are of the whole episode and no part of this:
no observation shows them, and a planner prices them by what it foresees.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.mpc.policy import MPC
from baselines.rules.greedy import Greedy
from gridai_env.arrays.draws import EpisodeDraws
from gridai_env.envs.env import GridAIEnv
from gridai_env.episodes.forecast import Background, day_ahead, publication, with_published
from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.traces.files.zones import CALIBRATED
from tests.support.small_scenario import SMALL, small

START, T, LONGEST_H = np.datetime64("2024-03-10T00", "h"), 9, 24
COLUMNS = tuple(CALIBRATED)


def trace(path: Path, known_h: int) -> Path:
    """Forty days of two zones; all values from ``known_h`` hours after the start on are others."""
    first, rng = START - 24 * 32, np.random.default_rng(2)
    lines = [",".join(["utc", "zone", *COLUMNS])]
    for zone in ("DE-LU", "ELSEWHERE"):
        values = rng.uniform(0.1, 0.8, (24 * 40, len(COLUMNS))) * [300, 600, 700, 25, 1, 1]
        other = np.minimum(values[::-1] * 1.2, [1e4, 1e3, 1e3, 40, 1, 1])
        values = np.where((np.arange(24 * 40) < 24 * 32 + known_h)[:, None], values, other)
        for h, row in enumerate(values):
            lines.append(",".join([f"{first + h}:00Z", zone, *(repr(float(x)) for x in row)]))
    path.write_text("\n".join(lines))
    return path


def played(instance: Instance, kind: str) -> dict[str, Any]:
    """What is observed and done up to step T under Greedy, and what the planner does in it."""
    env, greedy, planner = GridAIEnv(scenario=instance.scenario, instance=instance), Greedy(), MPC()
    greedy.prepare(instance.compiled)
    planner.begin(instance)
    observation, _ = env.reset(seed=0)
    seen = [observation]
    for _ in range(T):
        seen.append(env.step(greedy.act(seen[-1]))[0])
    return {
        "observed": [np.concatenate([x[key].ravel() for key in sorted(x)]) for x in seen],
        "forecast": instance.forecast.values[: T + 1],
        "rule": greedy.act(seen[-1]),
        "planned": planner.act(seen[-1]),
    }


@pytest.mark.parametrize("kind", ["day_ahead", "published", "persistence"])
def test_files_of_any_zone(tmp_path: Path, kind: str) -> None:
    sites = [SMALL["sites"][0], {**SMALL["sites"][1], "zone": "ELSEWHERE"}]
    world = SMALL | {"sites": sites, "events": [], "jobs": [], "forecast": {"kind": kind}}
    reach = T + LONGEST_H + 1
    episodes = [
        make_instance(world, 3, trace(tmp_path / f"{h}.csv", h), start=str(START)) for h in (reach, 24 * 7)
    ]
    assert (
        episodes[0].exogenous.buy_usd_per_mwh[reach:] != episodes[1].exogenous.buy_usd_per_mwh[reach:]
    ).all()
    near, far = (played(instance, kind) for instance in episodes)
    for name, values in near.items():
        assert np.array_equal(values, far[name]), name
    if kind == "day_ahead":  # and the hour at the longest lead does show
        moved = make_instance(world, 3, trace(tmp_path / "in.csv", reach - 1), start=str(START))
        assert not np.array_equal(moved.forecast.values[T], episodes[1].forecast.values[T])


@pytest.mark.parametrize("kind", ["day_ahead", "published"])
def test_synthetic_backgrounds(kind: str) -> None:
    compiled, rng = small(forecast={"kind": kind}), np.random.default_rng(4)
    truth, mean = rng.uniform(1, 9, (2, 72, 8)).astype(np.float32), np.full((2, 72, 8), 5, dtype=np.float32)
    other = truth.copy()
    other[:, 24 + T + LONGEST_H + 1 :] += 100
    clock = publication(compiled, np.array(["2023-05-03"] * 2, dtype="datetime64[m]"), 0, 48)
    values = []
    for series in (truth, other):
        known = clock if kind == "published" else None
        base = Background(series, mean, mean[:, 24:], np.full(8, np.inf), 2, published=known)
        draws = EpisodeDraws([np.random.default_rng(seed) for seed in range(2)])
        made = day_ahead(compiled.forecast, 1.0, base, draws)
        values.append(with_published(made, base, compiled.forecast.lead_steps))
    assert np.array_equal(values[0][:, : T + 1], values[1][:, : T + 1])
    assert not np.array_equal(values[0][:, T + 1], values[1][:, T + 1])
