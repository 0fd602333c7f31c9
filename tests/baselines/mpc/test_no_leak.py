"""Nothing seen or decided in a step depends on hours beyond the longest lead, in files of any zone and without one.

The prices of the last resorts (load shed, accelerators taken from jobs) are of the whole episode and no part of this:
no observation shows them, and a planner prices them by what it foresees.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from baselines.mpc.policy import MPC
from baselines.mpc.scenarios import ScenarioMPC
from baselines.rules.registry import REGISTRY
from gridai_env.arrays.draws import EpisodeDraws
from gridai_env.envs.env import GridAIEnv
from gridai_env.episodes.forecast import Background, day_ahead, publication, with_published
from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.rollout.policy import Policy
from gridai_env.scenario.compile import Compiled
from gridai_env.traces.calibration import CALIBRATED
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


def demand(path: Path, known_h: int, form: str) -> str:
    """Forty days of work by hour, of two regions or of none; what follows ``known_h`` comes in another order."""
    hours, rng = 24 * 40, np.random.default_rng(6)
    first, cut = START - 24 * 32, 24 * 32 + known_h
    values = rng.uniform(5, 15, (2, hours))
    values[:, cut:] = values[:, cut:][:, ::-1]  # the mean of the file stays: it is the level of the regions
    if form == "regions":
        lines = ["utc,region,requests_per_s"]
        names = [region["name"] for region in SMALL["regions"]]
        lines += [
            f"{first + h}:00Z,{name},{x!r}"
            for name, row in zip(names, values.tolist(), strict=True)
            for h, x in enumerate(row)
        ]
    else:
        lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
        lines += [
            f"{first + h}:{minute},{x * 1e5!r},0"
            for h, x in enumerate(values[0].tolist())
            for minute in ("00:00", "59:59")
        ]
    path.write_text("\n".join(lines))
    return str(path)


def policies(compiled: Compiled) -> list[Policy]:
    """All rules, the planners with the forecast of the scenario, and a network that remembers forecasts."""
    torch = pytest.importorskip("torch")
    from agents.networks.checkpoint import Identity, NetworkPolicy
    from tests.support.structure_worlds import policy_of

    torch.manual_seed(0)
    network = NetworkPolicy(policy_of(compiled, seed=1), Identity.of(compiled))
    return [*(rule() for rule in REGISTRY.values()), MPC(), ScenarioMPC(futures=2), network]


def decisions(policy: Policy, instance: Instance) -> np.ndarray:
    """What a policy does up to step T, with all that it has seen, [T+1,S]."""
    env, state, done = GridAIEnv(scenario=instance.scenario, instance=instance), None, []
    policy.prepare(instance.compiled)
    policy.reseed(2)
    policy.begin(instance)
    observation, _ = env.reset(seed=0)
    for t in range(T + 1):
        action, state = policy.predict(observation, state, np.array([t == 0]))
        done.append(np.concatenate([action, *(observation[key].ravel() for key in sorted(observation))]))
        observation = env.step(action)[0]
    return np.stack(done)


def assert_equal_up_to_t(near: Instance, far: Instance) -> None:
    """What is shown, foreseen and done up to step T does not depend on the hours after its longest lead."""
    first, last = T + LONGEST_H + 1, near.steps
    for name in ("buy_usd_per_mwh", "arrivals_gpuh"):
        differs = getattr(near.exogenous, name) != getattr(far.exogenous, name)
        assert not differs[:first].any()
    assert near != far and near.hash != far.hash and last > first
    assert np.array_equal(near.forecast.values[: T + 1], far.forecast.values[: T + 1])
    for policy in policies(near.compiled):
        assert np.array_equal(*(decisions(policy, instance) for instance in (near, far))), policy.name


@pytest.mark.parametrize("kind", ["day_ahead", "published", "persistence"])
def test_files_of_any_zone(tmp_path: Path, kind: str) -> None:
    sites = [SMALL["sites"][0], {**SMALL["sites"][1], "zone": "ELSEWHERE"}]
    world = SMALL | {"sites": sites, "events": [], "jobs": [], "forecast": {"kind": kind}}
    reach = T + LONGEST_H + 1
    episodes = [
        make_instance(world, 3, trace(tmp_path / f"{h}.csv", h), start=str(START)) for h in (reach, 24 * 7)
    ]
    buy = [instance.exogenous.buy_usd_per_mwh[reach:] for instance in episodes]
    assert (buy[0] != buy[1]).all()
    assert_equal_up_to_t(*episodes)
    if kind == "day_ahead":  # and the hour at the longest lead does show
        moved = make_instance(world, 3, trace(tmp_path / "in.csv", reach - 1), start=str(START))
        assert not np.array_equal(moved.forecast.values[T], episodes[1].forecast.values[T])


@pytest.mark.parametrize("kind", ["day_ahead", "persistence"])
@pytest.mark.parametrize("form", ["regions", "requests"])
def test_files_of_demand(tmp_path: Path, kind: str, form: str) -> None:
    """Requests have no date: their day is drawn, here the last on which the episode fits."""
    regions = [{**region, "timezone": "UTC"} for region in SMALL["regions"]]
    world = SMALL | {"regions": regions, "events": [], "jobs": [], "forecast": {"kind": kind}}

    def episode(known_h: int, seed: int) -> Instance:
        path = demand(tmp_path / f"{known_h}.csv", known_h, form)
        return make_instance(world, seed, start=str(START), demand=path)

    seed, offset = 3, 0
    if form == "requests":
        day = re.search(r"day (\d+) of the file first", episode(0, seed).provenance["demand"])
        assert day is not None
        offset = 24 * int(day[1]) - 24 * 32  # hours from START to the start of the episode in the file
    reach = offset + T + LONGEST_H + 1
    near, far = episode(reach, seed), episode(24 * 8, seed)
    assert (
        near.exogenous.arrivals_gpuh[T + LONGEST_H + 1 :] != far.exogenous.arrivals_gpuh[T + LONGEST_H + 1 :]
    ).any()
    assert_equal_up_to_t(near, far)


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
