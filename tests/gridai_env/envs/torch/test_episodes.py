"""Episodes made on a device are those of NumPy: the same text (equal draws, equal episodes) and the same world.

Everything runs on the processor, in float64 where numbers are compared and in float32 where that is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from gridai_env.arrays import torch_ops as tensors  # noqa: E402
from gridai_env.arrays.draws import EpisodeDraws  # noqa: E402
from gridai_env.envs.episode_arrays import EpisodeArrays  # noqa: E402
from gridai_env.envs.torch.generate import TorchEpisodeGenerator  # noqa: E402
from gridai_env.envs.torch.upload import uploaded  # noqa: E402
from gridai_env.episodes.instance import make_batch  # noqa: E402
from gridai_env.episodes.starts import STREAMS, streams  # noqa: E402
from gridai_env.scenario.compile import Compiled, compile_scenario  # noqa: E402
from gridai_env.scenario.load import load_scenario  # noqa: E402
from gridai_env.scenario.spec import Start  # noqa: E402
from gridai_env.traces.calibration import zone_calibration  # noqa: E402
from tests.support.device_watch import DeviceWatch  # noqa: E402
from tests.support.small_scenario import small  # noqa: E402

SCENARIOS = ("two_sites", "four_markets", "microgrid_prosumer", "energy_geography", "global")
EPISODES = 600


class Replay(EpisodeDraws):
    """The draws of NumPy episodes as float64 tensors for a whole batch."""

    def parts(self, size: int) -> Iterator[slice]:
        yield slice(0, len(self))

    def normals(self, part: slice, *shape: int) -> Any:
        return as_tensor(super().normals(part, *shape))

    def uniforms(self, part: slice, *shape: int) -> Any:
        return as_tensor(super().uniforms(part, *shape))

    def coarse_normals(self, part: slice, *shape: int) -> Any:
        return as_tensor(super().coarse_normals(part, *shape))

    def indices(self, count: int) -> Any:
        return torch.as_tensor(super().indices(count))


def as_tensor(x: np.ndarray) -> Any:
    return torch.as_tensor(np.moveaxis(x, 0, -1).copy()).movedim(-1, 0)


def fields(episodes: EpisodeArrays) -> dict[str, Any]:
    """All tensors by name."""
    named = {f"exogenous/{name}": getattr(episodes.exogenous, name) for name in episodes.exogenous.names()}
    named |= {f"initial/{name}": getattr(episodes.initial, name) for name in episodes.initial.names()}
    named |= {f"params/{name}": values for name, values in episodes.params_of_instance.items()}
    named |= {name: getattr(episodes, name) for name in ("forecast", "event_active", "start_minutes")}
    return named


def shipped(name: str, **changes: Any) -> Compiled:
    return compile_scenario(load_scenario(name, **changes))


VARIANTS = {
    **{name: (shipped, {"name": name}) for name in SCENARIOS},
    "perfect": (shipped, {"name": "two_sites", "forecast": "perfect"}),
    "small": (small, {}),  # all kinds of events, a carbon budget, a generator
    "small, persistence": (small, {"forecast": {"kind": "persistence"}}),
    "small, published": (small, {"forecast": {"kind": "published"}, "start": {"hour_utc": 9}}),
    "small, published quarter-hours": (small, {"dt_h": 0.25, "forecast": {"kind": "published"}}),
    "small, half-hours": (small, {"dt_h": 0.5}),
    "small, quarter-hours": (small, {"dt_h": 0.25, "horizon_h": 48.0, "forecast": {"kind": "perfect"}}),
    "small, nothing to draw": (small, {"jobs": [], "events": []}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_draws_make_equal_episodes(variant: str) -> None:
    """The tensors of a device, fed with NumPy's random numbers, are NumPy's arrays: there is one text."""
    make, arguments = VARIANTS[variant]
    compiled, seeds = make(**arguments), (0, 1, 2, 5, 11)
    wanted = fields(uploaded(make_batch(compiled, seeds), "cpu", torch.float64))
    source = TorchEpisodeGenerator(compiled, "cpu", torch.float64, seed=0)
    found = fields(source.make({feature: Replay(streams(seeds, feature)) for feature in STREAMS}))
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype, name
        # Forecasts are float32 on both sides, and differences of large numbers before that.
        near = 1e-6 if name == "forecast" else 1e-9
        scale = float(values.double().abs().amax()) if values.numel() else 1.0
        np.testing.assert_allclose(
            found[name].double(), values.double(), rtol=near, atol=near * scale, err_msg=name
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SCENARIOS)
def test_drawn_episodes_keep_the_rules(name: str, dtype: Any) -> None:
    compiled = shipped(name)
    episodes = TorchEpisodeGenerator(compiled, "cpu", dtype, seed=3).draw(70)
    exo, shape, wait = episodes.exogenous, compiled.shape, compiled.row_wait_steps
    for field, values in fields(episodes).items():
        assert torch.isfinite(values).all(), field
        assert len(values) == len(episodes) == 70
        if field.startswith(("exogenous", "initial", "params")):
            assert values.dtype == dtype, field
        # A step's values of neighbouring episodes are neighbours in memory.
        assert values.movedim(0, -1).is_contiguous(), field
    assert (exo.sell_usd_per_mwh < exo.buy_usd_per_mwh).all()
    assert (exo.export_limit_mw[exo.sell_usd_per_mwh < 0] == 0).all()
    assert (exo.network_usd_per_mwh == exo.buy_usd_per_mwh.clamp_min(0)).all()
    assert (exo.arrivals_gpuh >= 0).all() and (exo.arrivals_gpuh.sum((1, 2, 3)) > 0).all()
    assert (exo.renewable_available_mw >= 0).all() and (exo.pue >= 1).all()
    assert (exo.available_gpus <= torch.as_tensor(compiled.params.gpus).to(dtype) * (1 + 1e-6)).all()
    assert (exo.battery_target_mwh[:, :-1] == 0).all()
    wanted = [
        s.battery.target_share * s.battery.capacity_mwh if s.battery else 0.0 for s in compiled.scenario.sites
    ]
    assert exo.battery_target_mwh[7, -1].tolist() == pytest.approx(wanted)
    check_queues(exo.arrivals_gpuh.double().numpy(), exo.queue_limit_gpuh.double().numpy(), wait)
    check_growth(exo, wait)
    assert set(episodes.start_minutes.tolist()) <= set(compiled.synthetic_starts.astype(np.int64).tolist())
    assert (episodes.params_of_instance["shed_usd_per_mwh"].amin(1) > exo.buy_usd_per_mwh.amax((1, 2))).all()
    assert episodes.forecast.shape[1:] == (
        shape.steps,
        len(compiled.scenario.forecast.leads_h),
        3 * shape.sites + shape.regions,
    )
    check_jobs(compiled, episodes)


def check_queues(arrivals: np.ndarray, limit: np.ndarray, wait: np.ndarray) -> None:
    """The arrivals of the last D steps, 0 in the end: summed one by one."""
    for w, longest in enumerate(wait):
        for t in (0, 1, 5, arrivals.shape[1] - 2):
            recent = arrivals[:, max(0, t - longest + 1) : t + 1, :, w].sum(1) if longest else 0.0
            np.testing.assert_allclose(limit[:, t, :, w], recent * np.ones_like(limit[:, t, :, w]), rtol=1e-5)
    assert (limit[:, -1] == 0).all()


def check_growth(exo: Any, wait: np.ndarray) -> None:
    """Arrivals follow from those before by growth, or count as placed at home; nothing for rows that wait."""
    sessions = torch.as_tensor(wait == 0)
    growth, rehomed, arrivals = (
        exo.growth[..., sessions],
        exo.rehomed_gpuh[..., sessions],
        exo.arrivals_gpuh[..., sessions],
    )
    assert (growth[:, 0] == 1).all() and (rehomed[:, 0] == 0).all()
    assert ((growth == 0) | (rehomed == 0)).all()
    follows = growth[:, 1:] * arrivals[:, :-1] + rehomed[:, 1:]
    torch.testing.assert_close(follows, arrivals[:, 1:], rtol=1e-5, atol=1e-5)
    assert (exo.growth[..., ~sessions] == 0).all() and (exo.rehomed_gpuh[..., ~sessions] == 0).all()


def check_jobs(compiled: Compiled, episodes: EpisodeArrays) -> None:
    """Windows as long as the scenario's and inside the episode, in order of the latest start."""
    is_open = episodes.exogenous.job_open.double().numpy().any(-1)
    if not compiled.shape.jobs:
        return
    steps = np.arange(compiled.shape.steps)[:, None]
    first, last = np.where(is_open, steps, 10**6).min(1), np.where(is_open, steps, -1).max(1)
    assert (np.diff(last, axis=1) >= 0).all()
    slack = compiled.job_deadline_steps - compiled.job_release_steps - compiled.job_duration_steps
    assert (np.sort(last - first, axis=1) == np.sort(slack)).all()
    duration = episodes.params_of_instance["job_profile"].sum(-1).double().numpy()
    assert (last + duration <= compiled.shape.steps).all() and (first >= 0).all()
    assert (is_open.sum(1) == last - first + 1).all()
    assert (len(np.unique(first, axis=0)) > 1) == (compiled.job_jitter_steps > 0).any()


# The same world: what is drawn on a device against NumPy's episodes, all from one day --------------


World = dict[str, np.ndarray]


@cache
def two_worlds(name: str, day: date) -> tuple[Compiled, World, World]:
    """The scenario at one start, and 600 episodes of it each from NumPy and from the device (float32)."""
    scenario = load_scenario(name, horizon_h=48.0)
    start = Start(first=day, last=day, hour_utc=scenario.start.hour_utc)
    compiled = compile_scenario(scenario.model_copy(update={"start": start}))
    made = uploaded(make_batch(compiled, range(EPISODES)), "cpu", torch.float64)
    drawn = TorchEpisodeGenerator(compiled, "cpu", torch.float32, seed=1).draw(EPISODES)
    host, device = ({name: x.double().numpy() for name, x in fields(w).items()} for w in (made, drawn))
    return compiled, host, device


SUMMER = date(2023, 8, 7)
SERIES = (
    "buy_usd_per_mwh",
    "carbon_average_kg_per_mwh",
    "carbon_marginal_kg_per_mwh",
    "renewable_available_mw",
    "pue",
    "arrivals_gpuh",
    "queue_limit_gpuh",
    "growth",
    "available_gpus",
    "import_limit_mw",
    "job_open",
)


@pytest.mark.parametrize("field", SERIES)
def test_means_and_deviations_agree(field: str) -> None:
    """In every step, at every site: means within 4.5 standard errors, deviations within a quarter."""
    _, host, drawn = two_worlds("global", SUMMER)
    a, b = host[f"exogenous/{field}"], drawn[f"exogenous/{field}"]
    size = np.abs(a).mean() + 1e-12
    error = np.sqrt((a.var(0) + b.var(0)) / EPISODES)
    assert (np.abs(a.mean(0) - b.mean(0)) <= 4.5 * error + 1e-5 * size).all()
    over_time_a, over_time_b = (np.sqrt(x.var(0).mean(0)) for x in (a, b))
    np.testing.assert_allclose(over_time_b, over_time_a, rtol=0.25, atol=1e-4 * size)
    if field not in ("growth", "pue", "available_gpus", "import_limit_mw", "job_open"):
        assert over_time_a.max() > 0.02 * size  # the comparison has content


def memory(x: np.ndarray, lag: int) -> np.ndarray:
    """Correlation of [B,T,...] with itself some steps later, over episodes and steps, after the hourly mean."""
    stray = x - x.mean(0)
    return (stray[:, lag:] * stray[:, :-lag]).mean((0, 1)) / (stray * stray).mean((0, 1))


@pytest.mark.parametrize("lag", [1, 6, 24])
def test_memory_agrees(lag: int) -> None:
    _, host, drawn = two_worlds("global", SUMMER)
    for field in ("carbon_average_kg_per_mwh", "arrivals_gpuh", "pue"):
        a, b = (memory(world[f"exogenous/{field}"], lag) for world in (host, drawn))
        # Where it is cool, the PUE hardly ever moves: nothing to compare.
        moves = (np.diff(host[f"exogenous/{field}"], axis=1) != 0).mean((0, 1)) > 0.5
        np.testing.assert_allclose(b[moves], a[moves], atol=0.08, err_msg=field)
        assert moves.sum() > 3
    assert memory(host["exogenous/carbon_average_kg_per_mwh"], 1).min() > 0.5


def test_zones_hang_together_alike() -> None:
    """Correlations of carbon and of log prices between sites, after the hourly mean."""
    _, host, drawn = two_worlds("four_markets", SUMMER)
    for field in ("carbon_average_kg_per_mwh", "buy_usd_per_mwh"):
        between = []
        for world in (host, drawn):
            value = np.arcsinh(world[f"exogenous/{field}"] / 20.0)
            stray = (value - value.mean(0)).reshape(-1, value.shape[-1])
            between.append(np.corrcoef(stray.T))
        np.testing.assert_allclose(between[1], between[0], atol=0.08, err_msg=field)
    assert np.abs(between[0] - np.eye(len(between[0]))).max() > 0.2


def test_spikes_agree() -> None:
    """Prices above the cap of their month: how often, how high, how long."""
    compiled, host, drawn = two_worlds("four_markets", SUMMER)
    often = []
    for k, site in enumerate(compiled.scenario.sites):
        cap = zone_calibration(site.zone).spike_cap_usd_per_mwh[SUMMER.month - 1] * site.grid.price_scale
        prices = [
            world["exogenous/buy_usd_per_mwh"][..., k] - site.grid.price_adder_usd_per_mwh
            for world in (host, drawn)
        ]
        spikes = [price > 1.001 * cap for price in prices]
        share = [spike.mean() for spike in spikes]
        often.append(share[0])
        if share[0] < 0.002:
            assert share[1] < 0.006, site.name
            continue
        assert share[1] == pytest.approx(share[0], rel=0.35), site.name
        height = [np.log(price[spike] / cap).mean() for price, spike in zip(prices, spikes, strict=True)]
        assert height[1] == pytest.approx(height[0], rel=0.3), site.name
        stays = [(spike[:, 1:] & spike[:, :-1]).sum() / spike[:, :-1].sum() for spike in spikes]
        assert stays[1] == pytest.approx(stays[0], abs=0.15), site.name
    assert max(often) > 0.005


def test_forecasts_know_as_much() -> None:
    """Squared correlation of forecast and truth is the scenario's skill, on the device as on the host."""
    compiled, host, drawn = two_worlds("global", SUMMER)
    rules, sites = compiled.forecast, compiled.shape.sites
    leads, steps = rules.lead_steps, compiled.shape.steps
    found = np.empty((2, len(leads), 2))
    for w, world in enumerate((host, drawn)):
        truth = [world["exogenous/carbon_marginal_kg_per_mwh"], world["exogenous/carbon_average_kg_per_mwh"]]
        carbon = truth[0] if compiled.params.bill_marginal else truth[1]
        arrivals = world["exogenous/arrivals_gpuh"].sum(-1)
        for i, lead in enumerate(leads):
            seen = world["forecast"][:, : steps - lead, i]
            for s, (then, now) in enumerate(
                (
                    (carbon[:, lead:], seen[..., sites : 2 * sites]),
                    (arrivals[:, lead:], seen[..., 3 * sites :]),
                )
            ):
                a, b = ((x - x.mean(0)).reshape(-1, x.shape[-1]) for x in (then, now))
                found[w, i, s] = np.mean((a * b).mean(0) ** 2 / ((a * a).mean(0) * (b * b).mean(0) + 1e-30))
            assert (world["forecast"][:, steps - lead :, i] == 0).all()
    np.testing.assert_allclose(found[1], found[0], atol=0.03)
    np.testing.assert_allclose(found[1, :, 1], rules.skill, atol=0.06)


def test_starts_are_evenly_drawn() -> None:
    compiled = shipped("two_sites")
    possible = compiled.synthetic_starts.astype(np.int64)
    source = TorchEpisodeGenerator(compiled, "cpu", torch.float32, seed=0, at_once=4000)
    day = np.searchsorted(possible, source.draw(4000).start_minutes.numpy())
    count = np.bincount(day * 12 // len(possible), minlength=12)
    assert count.sum() == 4000 and np.abs(count - 4000 / 12).max() < 5 * np.sqrt(4000 / 12)
    assert day.min() < 10 and day.max() >= len(possible) - 10


# One generator -------------------------------------------------------------------------------------


def equal(a: EpisodeArrays, b: EpisodeArrays) -> bool:
    mine, other = fields(a), fields(b)
    return all(torch.equal(values, other[name]) for name, values in mine.items())


def test_equal_seeds_make_equal_episodes_and_a_state_goes_on() -> None:
    compiled = shipped("global", horizon_h=24.0)
    source, again, other = (TorchEpisodeGenerator(compiled, "cpu", torch.float32, seed) for seed in (5, 5, 6))
    first = source.draw(20)
    assert equal(first, again.draw(20)) and not equal(first, other.draw(20))
    state = source.generator.get_state()
    second = source.draw(20)
    assert not equal(first, second)
    other.generator.set_state(state)
    assert equal(second, other.draw(20)) and equal(second, again.draw(20))
    source.seed(5)
    assert equal(first, source.draw(20))
    assert not equal(*(TorchEpisodeGenerator(compiled).draw(20) for _ in range(2)))
    before = torch.random.get_rng_state()
    source.draw(3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_neighbours_differ_and_batches_join() -> None:
    compiled = shipped("four_markets", horizon_h=24.0)
    episodes = TorchEpisodeGenerator(compiled, "cpu", torch.float32, seed=2, at_once=8).draw(20)
    prices = episodes.exogenous.buy_usd_per_mwh.flatten(1)
    assert len(episodes) == 20 and len(torch.unique(prices, dim=0)) == 20
    assert prices.movedim(0, -1).is_contiguous()
    assert (
        episodes.initial.placed_gpuh.sum(-1)[..., 0] == episodes.exogenous.arrivals_gpuh[:, 0, :, 0]
    ).all()


def test_nothing_waits_for_the_device_and_constants_move_once() -> None:
    for compiled in (
        shipped("global", horizon_h=24.0),
        small(dt_h=0.5),
        small(forecast={"kind": "persistence"}),
    ):
        source = TorchEpisodeGenerator(compiled, "cpu", torch.float32, seed=0)
        source.draw(4)
        moved = tensors.moved_once.cache_info().misses
        with DeviceWatch() as watch:
            source.draw(4)
        assert not watch.waits and not watch.products
        assert 100 < watch.count < 3000
        assert tensors.moved_once.cache_info().misses == moved


def test_episodes_from_files_are_refused() -> None:
    compiled = compile_scenario(load_scenario("two_sites").model_copy(update={"traces": "prices.csv"}))
    with pytest.raises(ValueError, match=r"traces = 'prices.csv': .*episodes='host'"):
        TorchEpisodeGenerator(compiled)
