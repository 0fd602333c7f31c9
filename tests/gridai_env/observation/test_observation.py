"""The observation: order and names, values in units, that it makes the episode Markov, and no leak."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation

import gridai_env
from gridai_env.arrays.record import Record
from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.observer import Observer
from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, InstanceBatch, make_batch, make_instance
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario, scenario_names
from gridai_env.world.actions import Layout, decode
from gridai_env.world.feasible import project
from gridai_env.world.physics import next_state
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, State
from gridai_env.world.terms import settle
from tests.support.small_scenario import flexible, small

NAMES = scenario_names()


def _random_actions(env: GridAIEnv, steps: int, seed: int) -> np.ndarray:
    """Actions that use all of the range, with extremes."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1.0, 1.0, (steps, env.action_space.shape[0]))
    return np.where(rng.random(actions.shape) < 0.2, np.sign(actions), actions).astype(np.float32)


@pytest.fixture(params=[*NAMES, "flexible"])
def env(request: pytest.FixtureRequest) -> GridAIEnv:
    return GridAIEnv(flexible().scenario if request.param == "flexible" else request.param)


def test_order_is_that_of_gymnasium(env: GridAIEnv) -> None:
    assert list(env.observation_space) == list(env.layout.parts) == sorted(env.layout.parts)
    flat_env = FlattenObservation(env)
    assert flat_env.observation_space == env.layout.flat_space()
    observation, _ = env.reset(seed=1)
    flat, _ = flat_env.reset(seed=1)
    assert np.array_equal(flat, env.layout.flatten(observation))
    assert np.array_equal(flat, spaces.flatten(env.observation_space, observation))
    assert all(np.array_equal(a, observation[name]) for name, a in env.layout.as_dict(flat).items())


def test_every_index_has_a_name_of_its_own(env: GridAIEnv) -> None:
    names = env.layout.index_names()
    assert len(set(names)) == len(names) == env.layout.size
    for part, where in env.layout.parts.items():
        assert env.layout.index_names(part) == names[where]
        assert all(name.startswith(f"{part}/") for name in names[where])
    assert len(set(env.action_names)) == env.action_space.shape[0]


def test_values_stay_in_the_space_and_near_one(env: GridAIEnv) -> None:
    observation, _ = env.reset(seed=2)
    flat_space = env.layout.flat_space()
    for action in _random_actions(env, env.compiled.shape.steps, 2):
        assert observation in env.observation_space
        flat = env.layout.flatten(observation)
        assert flat.dtype == np.float32
        assert flat in flat_space
        assert np.abs(flat).max() < 100.0
        observation, *_ = env.step(action)


def test_values_in_units(env: GridAIEnv) -> None:
    observation, _ = env.reset(seed=3)
    for action in _random_actions(env, 10, 3):
        units = env.layout.physical(observation)
        exogenous, state = env.simulator.exogenous, env.simulator.state
        for record in (exogenous, state):
            for name in record.names():
                if name in units and name not in ("job_open", "placed_gpuh", "committed_gpus"):
                    np.testing.assert_allclose(units[name], getattr(record, name)[0], rtol=1e-6, atol=1e-6)
        sessions = env.compiled.params.may_wait < 0.5
        np.testing.assert_allclose(
            units["placed_gpuh"][:, sessions], state.placed_gpuh[0][:, sessions], rtol=1e-6, atol=1e-6
        )
        assert units["steps_left"] == env.compiled.shape.steps - env.simulator.t[0]
        assert np.array_equal(units["route_open"], env.compiled.params.route_open)
        observation, *_ = env.step(action)


def test_forecast_in_units() -> None:
    env = GridAIEnv("two_sites")
    observation, _ = env.reset(seed=3)
    units, forecast = env.layout.physical(observation), env.instance.forecast
    for name in ("arrivals_gpuh", "buy_usd_per_mwh", "carbon_kg_per_mwh", "renewable_mw"):
        np.testing.assert_allclose(units[f"forecast_{name}"], getattr(forecast, name)[0], rtol=1e-6)


def test_batches_have_units_too() -> None:
    batch = make_batch(compile_scenario(load_scenario("global")), [0, 1, 2])
    observer = Observer(Simulator(batch, ObservationLayout(batch.compiled)))
    flat = observer.observe()
    together = observer.layout.physical(flat)
    for b in range(3):
        alone = observer.layout.physical(observer.layout.as_dict(flat[b]))
        assert together.keys() == alone.keys()
        assert all(np.array_equal(together[name][b], alone[name]) for name in alone)


def _with_slots_as_jobs(env: GridAIEnv, units: dict[str, np.ndarray]) -> Record:
    """Params of the episode (with B = 1) whose jobs are those of the observed slots."""
    p = env.simulator.params
    steps = env.compiled.shape.job_steps
    profile = (np.arange(steps) < units["job_duration_steps"][:, None]).astype(float)
    return p.replace(
        job_gpus=units["job_gpus"][None],
        job_profile=profile[None],
        job_value_usd=units["job_value_usd"][None],
    )


def test_state_rebuilt_from_the_observation_gives_the_same_step(env: GridAIEnv) -> None:
    observation, _ = env.reset(seed=4)
    started = 0.0
    for action in _random_actions(env, env.compiled.shape.steps, 4):
        units = env.layout.physical(observation)
        state, exogenous = (
            record.map(lambda x: np.asarray(x)[None]) for record in env.layout.rebuild(observation)
        )
        p = _with_slots_as_jobs(env, units)
        flows = project(p, state, exogenous, decode(p, Layout(env.compiled.shape), action[None]))
        outcome = settle(p, state, flows, exogenous)
        after = next_state(p, state, flows, exogenous)
        observation, _, _, _, info = env.step(action)
        scale = sum(abs(usd[0]) for usd in outcome.terms_usd.values()) + 1.0
        for name, usd in outcome.terms_usd.items():
            assert abs(usd[0] - info[f"terms/{name}_usd"]) <= 1e-5 * scale, name
        true = env.simulator.state
        for name in State.names():
            if name == "waiting" or (name == "carbon_kg" and "carbon_budget_left" not in env.layout.parts):
                continue
            size = (
                units["due_gpuh"].max()
                if name == "backlog_gpuh"
                else np.abs(getattr(true, name)).max(initial=0.0)
            )
            near = 1e-5 * (1.0 + size)
            np.testing.assert_allclose(
                getattr(after, name), getattr(true, name), rtol=1e-5, atol=near, err_msg=name
            )
        started += flows.started.sum()
    assert started == env.compiled.shape.jobs - env.simulator.state.waiting.sum()


@pytest.mark.parametrize("name", ["two_sites", "four_markets", "global"])
def test_work_due_follows_from_the_ages_of_the_queue(name: str) -> None:
    """Hold all work: the queue is then that of an explicit list of (arrival step, amount), oldest first."""
    env = GridAIEnv(name, horizon_h=24.0)
    observation, _ = env.reset(seed=5)
    hold = np.zeros(env.action_space.shape, dtype=np.float32)
    hold[[i for i, label in enumerate(env.action_names) if label.endswith("/hold")]] = 0.8
    shape, wait = env.compiled.shape, env.compiled.row_wait_steps
    ages = {(c, w): [] for c in range(shape.regions) for w in np.flatnonzero(wait)}
    for t in range(shape.steps):
        units, arrivals = env.layout.physical(observation), env.simulator.exogenous.arrivals_gpuh[0]
        for (c, w), queue in ages.items():
            queue.append([t, arrivals[c, w]])
            for h in range(units["due_gpuh"].shape[-1]):
                # Work of step s leaves by the end of step s + wait, and all work by the last step.
                due = sum(gpuh for s, gpuh in queue if s + wait[w] <= t + h or t + h >= shape.steps - 1)
                np.testing.assert_allclose(units["due_gpuh"][c, w, h], due, rtol=1e-6, atol=1e-6)
        observation, *_ = env.step(hold)
        for (c, w), queue in ages.items():
            gone = sum(gpuh for _, gpuh in queue) - env.simulator.state.backlog_gpuh[0, c, w]
            for item in queue:
                taken = min(item[1], gone)
                item[1], gone = item[1] - taken, gone - taken


def test_work_that_is_not_due_does_not_show() -> None:
    env = GridAIEnv("two_sites")
    observation, _ = env.reset(seed=5)
    hold = np.zeros(env.action_space.shape, dtype=np.float32)
    hold[[i for i, label in enumerate(env.action_names) if label.endswith("/hold")]] = 1.0
    longest = int(env.compiled.row_wait_steps.max())
    for t in range(longest):
        due = observation["due"].reshape(2, 1, longest)
        assert not due[..., : longest - t].any()
        assert due[..., longest - t :].all()
        observation, *_ = env.step(hold)


def test_what_is_due_now_cannot_stay() -> None:
    env = GridAIEnv("two_sites")
    observation, _ = env.reset(seed=6)
    hold = np.zeros(env.action_space.shape, dtype=np.float32)
    hold[[i for i, name in enumerate(env.action_names) if name.endswith("/hold")]] = 1.0
    ended = False
    while not ended:
        units = env.layout.physical(observation)
        on_hand = units["backlog_gpuh"] + units["arrivals_gpuh"]
        observation, _, ended, _, _ = env.step(hold)
        left = env.simulator.state.backlog_gpuh[0]
        np.testing.assert_allclose(on_hand - units["due_gpuh"][..., 0], left, rtol=1e-5, atol=1e-2)
    assert left.sum() == 0.0


def test_job_slots_show_the_jobs_that_may_start() -> None:
    env = GridAIEnv("microgrid_prosumer")
    observation, _ = env.reset(seed=7)
    wait = np.zeros(env.action_space.shape, dtype=np.float32)
    wait[[i for i, name in enumerate(env.action_names) if name.startswith("jobs/")]] = -1.0
    wait[
        [i for i, name in enumerate(env.action_names) if name.startswith("jobs/") and name.endswith("/wait")]
    ] = 1.0
    params, opening = env.instance.params, env.instance.exogenous.job_open
    for t in range(env.compiled.shape.steps):
        units = env.layout.physical(observation)
        active = np.flatnonzero(opening[t].any(-1))
        count = len(active)
        assert units["job_present"].tolist() == [1.0] * count + [0.0] * (env.compiled.shape.slots - count)
        np.testing.assert_allclose(units["job_gpus"][:count], params.job_gpus[active], rtol=1e-6)
        np.testing.assert_allclose(units["job_value_usd"][:count], params.job_value_usd[active], rtol=1e-6)
        np.testing.assert_allclose(
            units["job_duration_steps"][:count], params.job_profile[active].sum(-1), rtol=1e-6
        )
        assert np.array_equal(units["job_open"][:count], opening[t][active])
        last = [np.flatnonzero(opening[:, j].any(-1))[-1] for j in active]
        assert units["job_slack_steps"][:count].tolist() == [step - t for step in last]
        observation, *_ = env.step(wait)


def test_clock() -> None:
    instance = make_instance("two_sites", seed=0, start="2024-02-29T06:00", horizon_h=24.0)
    env = GridAIEnv(instance=instance, scenario=None)
    observation, _ = env.reset()
    days = (31 + 28 + 0.25) / 365.25
    thursday = (3 + 0.25) / 7.0
    for i, turn in enumerate((0.25, thursday, days)):
        expected = [np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)]
        np.testing.assert_allclose(observation["clock"][2 * i : 2 * i + 2], expected, atol=1e-6)


def test_after_the_end_the_world_is_empty(env: GridAIEnv) -> None:
    env.reset(seed=8)
    for action in _random_actions(env, env.compiled.shape.steps, 8):
        observation, *_ = env.step(action)
    for name in ("arrivals", "buy_price", "steps_left", "forecast_buy_price", "due", "jobs"):
        assert not observation.get(name, np.zeros(1)).any(), name
    assert observation.get("backlog", np.zeros(1)).max() < 1e-12


def test_parts_that_a_scenario_lacks_are_left_out() -> None:
    without = GridAIEnv("energy_geography").layout
    assert not {"jobs", "backlog", "due", "committed_gpus", "carbon_budget_left"} & set(without.parts)
    assert "carbon_budget_left" in GridAIEnv("microgrid_prosumer").layout.parts
    assert {"jobs", "backlog", "due"} <= set(GridAIEnv("global").layout.parts)


# Limits under events ------------------------------------------------------------------------------

LIMITS = {
    "available_gpus": "available_gpus",
    "import_limit": "import_limit_mw",
    "export_limit": "export_limit_mw",
}
LEADS = [1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 60.0]


def _with_events(kind: str, **changes: Any) -> Compiled:
    """The small scenario, in which every limit has an announced and an unannounced event."""
    events = [
        {
            "name": f"{limit}-{announced}",
            "kind": limit,
            "announced": announced,
            "duration_h": 5.0,
            "factor": 0.5,
        }
        for limit in LIMITS
        for announced in (True, False)
    ]
    return small(events=events, forecast={"kind": kind, "leads_h": LEADS}, **changes)


def _observed(batch: InstanceBatch) -> Iterator[dict[str, np.ndarray]]:
    """Observation in units before each step, [B,...]; every agent sees the same of the world."""
    simulator = Simulator(batch, ObservationLayout(batch.compiled))
    observer = Observer(simulator)
    for _ in range(simulator.steps):
        yield observer.layout.physical(observer.observe())
        simulator.step(np.zeros((len(batch), simulator.layout.size)))


@pytest.mark.parametrize("kind", ["perfect", "persistence", "day_ahead"])
@pytest.mark.parametrize("dt_h", [1.0, 0.5])
def test_observation_and_outlook_foresee_the_same_limits(kind: str, dt_h: float) -> None:
    batch = make_batch(_with_events(kind, dt_h=dt_h), range(3))
    leads, steps = batch.forecast.leads, batch.compiled.shape.steps
    for t, units in enumerate(_observed(batch)):
        for b in range(3):
            outlook = exogenous_forecast(batch.instances[b], t, steps)
            for name in LIMITS.values():
                seen = units[f"forecast_{name}"][b]
                inside = [i for i, lead in enumerate(leads) if t + lead < steps]
                expected = getattr(outlook, name)[[leads[i] for i in inside]]
                np.testing.assert_allclose(seen[inside], expected, rtol=1e-6, err_msg=f"{name}, t = {t}")
                assert not seen[len(inside) :].any()


@pytest.mark.parametrize("kind", ["perfect", "persistence", "day_ahead"])
def test_events_show_when_they_may_be_known(kind: str) -> None:
    """Against the rule, event by event; a limit of export is 0 besides where selling would cost money."""
    batch = make_batch(_with_events(kind), range(4))
    active, compiled = batch.knowledge.event_active, batch.compiled
    most = {"available_gpus": compiled.params.gpus, "import_limit_mw": compiled.import_limit_mw}
    hidden = 0
    for t, units in enumerate(_observed(batch)):
        for (i, lead), b in itertools.product(enumerate(batch.forecast.leads), range(4)):
            if t + lead >= 48:
                continue
            for e, name in ((0, "available_gpus"), (2, "import_limit_mw")):
                told, sudden = active[b, t + lead, e], active[b, t + lead, e + 1]
                known = {
                    "perfect": (told, sudden),
                    "persistence": (active[b, t, e], active[b, t, e + 1]),
                    "day_ahead": (told, sudden and active[b, t, e + 1]),
                }[kind]
                hidden += bool(sudden and not known[1])
                factor = 0.5 ** sum(map(int, known))
                np.testing.assert_allclose(units[f"forecast_{name}"][b, i], most[name] * factor, rtol=1e-6)
    assert (hidden == 0) == (kind == "perfect")


def test_limit_forecasts_are_there_only_with_such_events() -> None:
    names = {f"forecast_{name}" for name in LIMITS}
    price = {"name": "p", "kind": "price", "factor": 2.0}
    assert not names & set(ObservationLayout(small(events=[price])).parts)
    assert not names & set(GridAIEnv("four_markets").layout.parts)
    assert names & set(GridAIEnv("global").layout.parts) == names - {"forecast_export_limit"}
    for name in LIMITS:
        only = ObservationLayout(small(events=[{"name": "e", "kind": name, "factor": 0.5}]))
        assert names & set(only.parts) == {f"forecast_{name}"}


def test_limit_forecasts_are_the_same_alone_and_in_a_batch() -> None:
    compiled = _with_events("day_ahead")
    batch = make_batch(compiled, range(20))
    layout = ObservationLayout(compiled)
    together = Observer(Simulator(batch, layout)).observe()
    for b in (0, 7, 8, 19):
        alone = make_batch(compiled, [b])
        assert Observer(Simulator(alone, layout)).observe().tobytes() == together[b : b + 1].tobytes()


def test_an_instance_with_other_events_does_not_fit() -> None:
    env = GridAIEnv(small(events=[]).scenario)
    other = make_batch(_with_events("day_ahead"), [0])[0]
    with pytest.raises(ValueError, match="instance"):
        env.reset(options={"instance": other})


# No leak ----------------------------------------------------------------------------------------


def _changed_after(instance: Instance, t: int) -> Instance:
    """The same episode, but all that comes, and all forecasts made, after step t are others.

    Jobs that are released by then keep their windows: a deadline is told at the release.
    """
    rng = np.random.default_rng(t)
    fields = {}
    for name in Exogenous.names():
        array = np.array(getattr(instance.exogenous, name))
        if name == "job_open":
            unreleased = ~array[: t + 1].any((0, 2))
            array[t + 1 :, unreleased] = 0.0
        else:
            array[t + 1 :] *= rng.uniform(0.2, 0.8, array[t + 1 :].shape)
        fields[name] = array
    active = np.array(instance.knowledge.event_active)
    active[t + 1 :] = ~active[t + 1 :]
    values = np.array(instance.forecast.values)
    values[t + 1 :] *= rng.uniform(0.2, 0.8, values[t + 1 :].shape).astype(np.float32)
    forecast = dataclasses.replace(instance.forecast, values=values)
    knowledge = instance.knowledge.replace(event_active=active)
    changed = {"exogenous": Exogenous(**fields), "forecast": forecast, "knowledge": knowledge}
    return dataclasses.replace(instance, **changed)


def _seen(instance: Instance, actions: np.ndarray) -> list[object]:
    """All that an agent gets to see."""
    env = GridAIEnv(scenario=None, instance=instance)
    observation, _ = env.reset()
    seen: list[object] = []
    for action in actions:
        before = env.layout.flatten(observation)
        observation, reward, _, _, info = env.step(action)
        seen.append(
            (before.tobytes(), reward, {k: v for k, v in info.items() if not k.startswith("episode/")})
        )
    return seen


@pytest.mark.parametrize("t", [0, 7, 30])
def test_unannounced_events_to_come_do_not_show(t: int) -> None:
    """Another future of all events that are neither announced nor running changes nothing until then."""
    batch = make_batch(_with_events("day_ahead"), range(6))
    active = np.array(batch.knowledge.event_active)
    told = np.array([event.announced for event in batch.compiled.scenario.events])
    active[:, t + 1 :] ^= (~told & ~active[:, t])[:, None]
    other = dataclasses.replace(batch, knowledge=batch.knowledge.replace(event_active=active))
    names = [f"forecast_{name}" for name in LIMITS.values()]
    pairs = itertools.islice(zip(_observed(batch), _observed(other), strict=True), t, t + 2)
    same = [all(np.array_equal(a[name], b[name]) for name in names) for a, b in pairs]
    assert same == [True, False]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_later_step_shows_but_in_forecasts(name: str) -> None:
    instance = make_instance(name, seed=9, horizon_h=24.0, forecast="persistence")
    actions = _random_actions(GridAIEnv(scenario=None, instance=instance), 24, 9)
    true = _seen(instance, actions)
    for t in (0, 7, 16):
        other = _seen(_changed_after(instance, t), actions)
        assert other[: t + 1] == true[: t + 1]
        assert other[t + 1] != true[t + 1]


def _write_traces(path: Path, factor_after: float, hour: int) -> None:
    rows = ["utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh"]
    start = np.datetime64("2023-03-01T00:00")
    for zone, level in (("US-CAL-CISO", 40.0), ("US-TEX-ERCO", 25.0)):
        for h in range(24 * 5):
            price = (level + 10.0 * np.sin(h / 3.0)) * (factor_after if h > hour else 1.0)
            carbon = (300.0 + 50.0 * np.cos(h / 4.0)) * (factor_after if h > hour else 1.0)
            rows.append(f"{start + np.timedelta64(h, 'h')}Z,{zone},{price:.4f},{carbon:.4f}")
    path.write_text("\n".join(rows) + "\n")


def test_files_that_differ_later_look_the_same_until_then(tmp_path: Path) -> None:
    """The whole way from the file: with persistence nothing later is used, for scales or forecasts."""
    hour = 24 + 10  # the episode starts a day into the file
    for name, factor in (("a.csv", 1.0), ("b.csv", 1.7)):
        _write_traces(tmp_path / name, factor, hour)
    a, b = (
        make_instance("two_sites", 3, tmp_path / name, "2023-03-02T00:00", forecast="persistence")
        for name in ("a.csv", "b.csv")
    )
    actions = _random_actions(GridAIEnv(scenario=None, instance=a), 24, 3)
    seen_a, seen_b = _seen(a, actions), _seen(b, actions)
    assert seen_a[:11] == seen_b[:11]
    assert all(x != y for x, y in zip(seen_a[11:], seen_b[11:], strict=True))


def test_scales_are_constants_of_the_scenario() -> None:
    """Observations of all seeds are scaled alike: the layout of the scenario alone gives units back."""
    compiled = compile_scenario(load_scenario("four_markets"))
    layout = ObservationLayout(compiled)
    env = gym.make("gridai/FourMarkets-v2")
    for seed in (0, 1):
        observation, _ = env.reset(seed=seed)
        units = layout.physical(observation)
        np.testing.assert_allclose(
            units["buy_usd_per_mwh"], env.unwrapped.instance.exogenous.buy_usd_per_mwh[0], rtol=1e-6
        )
    assert gridai_env.__version__
    assert set(INSTANCE_FIELDS) <= set(compiled.params.names())
