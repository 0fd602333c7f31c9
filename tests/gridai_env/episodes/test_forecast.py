"""Forecasts: calibration, what they may know, and the outlook that a planner gets."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gridai_env.arrays.draws import EpisodeDraws
from gridai_env.episodes.forecast import (
    MEDIAN_OF_NORMAL,
    NOISE_SHARE,
    Background,
    SeriesBlock,
    day_ahead,
    days_back,
    persistence,
)
from gridai_env.episodes.instance import Instance, InstanceBatch, make_batch
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.scenario.spec import ForecastSpec
from gridai_env.scenario.tables import ForecastRules, skills
from gridai_env.world.state import Exogenous
from tests.support.small_scenario import SMALL, small

LEADS = [1.0, 2.0, 3.0, 6.0, 12.0, 24.0]


def batch_of(kind: str, seeds: range = range(4), **changes: Any) -> InstanceBatch:
    forecast = {"kind": kind, **changes.pop("forecast", {})}
    return make_batch(small(forecast=forecast, **changes), seeds)


def truth(instance: Instance) -> np.ndarray:
    """True series [T,S] in the order of the forecasts."""
    exo = instance.exogenous
    parts = [exo.buy_usd_per_mwh, exo.carbon_marginal_kg_per_mwh, exo.renewable_available_mw]
    return np.concatenate([*parts, exo.arrivals_gpuh.sum(-1)], axis=-1)


def same(a: Exogenous, b: Exogenous) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in Exogenous.names())


# Kinds -----------------------------------------------------------------------------------------


def test_perfect_forecasts_are_the_truth_and_zero_beyond_the_end() -> None:
    for instance in batch_of("perfect"):
        known = truth(instance)
        for i, lead in enumerate(instance.forecast.leads):
            assert instance.forecast.values[: 48 - lead, i] == pytest.approx(known[lead:], rel=1e-6)
            assert not instance.forecast.values[48 - lead :, i].any()


def test_persistence_is_the_same_hour_of_the_last_day_seen() -> None:
    leads = {"leads_h": [1.0, 24.0, 30.0]}
    for instance in batch_of("persistence", forecast=leads):
        seen = np.concatenate([instance.knowledge.history, truth(instance)])  # 24 h of history
        values = instance.forecast.values
        assert values[:47, 0] == pytest.approx(seen[1 : 1 + 47], rel=1e-6)
        assert values[:24, 1] == pytest.approx(seen[24 : 24 + 24], rel=1e-6)  # the present
        assert values[:18, 2] == pytest.approx(seen[6 : 6 + 18], rel=1e-6)  # target - 48 h


def test_days_back_by_hand() -> None:
    assert [days_back(lead, 24) for lead in (0, 1, 23, 24, 25, 48)] == [0, 23, 1, 0, 23, 0]


def test_persistence_of_a_counted_series() -> None:
    seen = np.arange(10.0).reshape(1, 10, 1)  # 4 steps a day, one day of history
    got = persistence(seen, 6, [1, 4, 5], 4)[0, :, :, 0]
    assert got.tolist() == [[1, 4, 1], [2, 5, 0], [3, 0, 0], [4, 0, 0], [5, 0, 0], [0, 0, 0]]


def test_views_of_the_series() -> None:
    block = SeriesBlock(np.arange(8.0), sites=2)
    assert block.buy_usd_per_mwh.tolist() == [0, 1]
    assert block.carbon_kg_per_mwh.tolist() == [2, 3]
    assert block.renewable_mw.tolist() == [4, 5]
    assert block.arrivals_gpuh.tolist() == [6, 7]


def test_skill_falls_linearly_in_log_lead() -> None:
    skill = skills(ForecastSpec(leads_h=[1.0, 2.0, 4.0], skill_first=0.9, skill_last=0.5))
    assert skill == pytest.approx([0.9, 0.7, 0.5])
    assert skills(ForecastSpec(leads_h=[3.0])) == pytest.approx([0.95])


# Day ahead -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many() -> InstanceBatch:
    """Many days without events, spread over the year."""
    return batch_of("day_ahead", range(1200), events=[], jobs=[], horizon_h=30.0)


def deviations(batch: InstanceBatch, lead: int) -> tuple[np.ndarray, np.ndarray]:
    """Forecast and truth, both less climatology, [B,T-lead,S]."""
    exo = batch.exogenous
    parts = [exo.buy_usd_per_mwh, exo.carbon_marginal_kg_per_mwh, exo.renewable_available_mw]
    true = np.concatenate([*parts, exo.arrivals_gpuh.sum(-1)], axis=-1)[:, lead:]
    mean = batch.knowledge.climatology[:, lead:]
    i = batch.forecast.leads.index(lead)
    return batch.forecast.values[:, : mean.shape[1], i] - mean, true - mean


@pytest.mark.parametrize("lead", [1, 6, 24])
def test_day_ahead_forecasts_are_calibrated(many: InstanceBatch, lead: int) -> None:
    """The regression of truth on forecast has slope 1, and the squared correlation is the skill."""
    skill = many.compiled.forecast.skill[many.forecast.leads.index(lead)]
    forecast, true = deviations(many, lead)
    # Arrivals are normal, so both hold closely.  Prices and weather are skewed and bounded; California's
    # price has rare spikes, which count less in the noise than in the variance: a slope above 1.
    for column, tolerance in [(0, 0.15), (1, 0.4), (4, 0.2), (5, 0.2), (6, 0.08), (7, 0.08)]:
        x, y = forecast[..., column].ravel(), true[..., column].ravel()
        slope = (x * y).sum() / (x * x).sum()
        assert slope == pytest.approx(1.0, abs=tolerance), column
        if column >= 6:
            assert np.corrcoef(x, y)[0, 1] ** 2 == pytest.approx(skill, abs=0.05)


def test_a_share_of_the_anomaly_makes_up_for_what_its_median_leaves_out() -> None:
    x = np.random.default_rng(0).standard_normal(2_000_000)
    assert np.median(np.abs(x)) == pytest.approx(MEDIAN_OF_NORMAL, abs=1e-3)
    noise = np.maximum(MEDIAN_OF_NORMAL, NOISE_SHARE * np.abs(x))
    assert (noise**2).mean() == pytest.approx(1.0, abs=2e-3)


def _with_spikes(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    spikes = (rng.random(size) < 0.04) * rng.exponential(30.0, size)
    return np.asarray(rng.standard_normal(size) + spikes)


ANOMALIES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "heavy tails": lambda rng, size: rng.laplace(size=size),
    "even": lambda rng, size: rng.uniform(-1, 1, size),
    "two values": lambda rng, size: rng.choice([-1.0, 1.0], size),
    "spikes": _with_spikes,
}


@pytest.mark.parametrize("kind", ANOMALIES)
def test_the_skill_is_the_declared_one_whatever_the_tails(kind: str) -> None:
    """Of all hours, of those with a spike alone, and without bias or averaging over leads."""
    rng = np.random.default_rng(3)
    rules = ForecastRules.of(small(forecast={"kind": "day_ahead"}).scenario)
    anomaly = ANOMALIES[kind](rng, (256, 40, 2)).astype(np.float32)
    anomaly -= anomaly.mean()
    typical = np.broadcast_to(np.median(np.abs(anomaly)), anomaly.shape).astype(np.float32)
    background = Background(100 + anomaly, np.full_like(anomaly, 100), typical, np.full(2, np.inf), 2)
    draws = EpisodeDraws([np.random.default_rng(seed) for seed in range(256)])
    values = day_ahead(rules, 1.0, background, draws) - 100

    for i, (lead, skill) in enumerate(zip(rules.lead_steps, rules.skill, strict=True)):
        seen, true = values[:, :-lead, i].ravel(), anomaly[:, lead:].ravel()
        assert np.corrcoef(seen, true)[0, 1] ** 2 == pytest.approx(skill, abs=0.075), lead
        assert seen.mean() == pytest.approx(skill * true.mean(), abs=0.03 * float(true.std()))
        big = np.abs(true) > 5 * true.std()
        if big.sum() > 30:  # a spike to come is as uncertain as any hour
            error = (seen - true)[big] / true[big]
            assert (error**2).mean() == pytest.approx(
                (1 - skill) ** 2 + skill * (1 - skill) * NOISE_SHARE**2, rel=0.35
            )


def test_errors_grow_with_lead(many: InstanceBatch) -> None:
    """Mean absolute error over the same targets, all but the first day."""
    leads = (1, 3, 6, 12, 24)
    errors = np.array([np.abs(np.subtract(*deviations(many, n)))[:, 24 - n :].mean((0, 1)) for n in leads])
    assert (np.diff(errors[:, [0, 1, 4, 5, 6, 7]], axis=0) > 0).all()
    # and the longest is still better than climatology
    assert (errors[-1] < np.abs(deviations(many, 24)[1]).mean((0, 1)))[[0, 1, 4, 6, 7]].all()


def test_old_forecasts_of_a_target_add_nothing_to_the_newest(many: InstanceBatch) -> None:
    """The error of the newest forecast is uncorrelated with every older one of the same target."""
    values, true = many.forecast.values[..., 6:], many.exogenous.arrivals_gpuh.sum(-1)
    target = 26
    error = values[:, target - 1, 0] - true[:, target]
    for i, lead in enumerate(many.forecast.leads[1:], start=1):
        older = values[:, target - lead, i] - many.knowledge.climatology[:, target, 6:]
        for region in range(2):
            assert abs(np.corrcoef(error[:, region], older[:, region])[0, 1]) < 0.1


def test_forecasts_keep_physical_bounds(many: InstanceBatch) -> None:
    forecast, climatology = many.forecast, many.knowledge.climatology
    assert (forecast.values[..., 2:] >= 0).all()
    assert (forecast.renewable_mw <= np.array([0.9, 0.8], dtype=np.float32)).all()
    night = climatology[..., 5] <= 0  # the south has sun alone
    for i, lead in enumerate(forecast.leads):
        assert not forecast.renewable_mw[:, :-lead, i, 1][night[:, lead:]].any()
    assert night.any()


def test_full_skill_is_the_truth_and_no_skill_is_climatology_and_noise() -> None:
    exact = batch_of("day_ahead", forecast={"skill_first": 1.0, "skill_last": 1.0}, events=[])[1]
    assert exact.forecast.values[:-1, 0] == pytest.approx(truth(exact)[1:], rel=1e-4, abs=1e-3)
    blind = batch_of("day_ahead", forecast={"skill_first": 0.0, "skill_last": 0.0}, events=[])[1]
    assert blind.forecast.values[:-1, 0] == pytest.approx(blind.knowledge.climatology[1:], rel=1e-5, abs=1e-4)


def test_quarter_hours_of_one_hour_share_their_noise() -> None:
    batch = batch_of("day_ahead", range(2), dt_h=0.25, horizon_h=24.0, events=[], jobs=[])
    exo = batch.exogenous
    error = batch.forecast.buy_usd_per_mwh[:, : 96 - 4, 0] - exo.buy_usd_per_mwh[:, 4:]
    by_hour = error.reshape(2, 23, 4, 2)
    assert by_hour == pytest.approx(by_hour[:, :, :1].repeat(4, 2), abs=1e-3)
    assert batch.forecast.leads == (4, 8, 12, 24, 48, 96)


def test_unannounced_events_stay_hidden_until_they_strike() -> None:
    events = [{"name": "e", "kind": "price", "duration_h": 4.0, "add_usd_per_mwh": 1e6, "announced": False}]
    for instance in batch_of("day_ahead", events=events):
        active = instance.knowledge.event_active[:, 0]
        for i, lead in enumerate(instance.forecast.leads):
            seen = instance.forecast.buy_usd_per_mwh[: 48 - lead, i].max(-1) > 5e5
            assert np.array_equal(seen, active[: 48 - lead] & active[lead:])
        start = int(active.argmax())
        if start:
            outlook = exogenous_forecast(instance, start - 1, 6)
            assert (outlook.buy_usd_per_mwh < 5e5).all()
        assert (exogenous_forecast(instance, start, 6).buy_usd_per_mwh[:4] > 5e5).all() or start > 44


def test_announced_events_are_foreseen() -> None:
    events = [{"name": "e", "kind": "price", "duration_h": 4.0, "add_usd_per_mwh": 1e6}]
    for instance in batch_of("day_ahead", events=events):
        active = instance.knowledge.event_active[:, 0]
        for i, lead in enumerate(instance.forecast.leads):
            seen = instance.forecast.buy_usd_per_mwh[: 48 - lead, i].max(-1) > 5e5
            assert np.array_equal(seen, active[lead:])


# What may be known -----------------------------------------------------------------------------------------


def changed_after(instance: Instance, t: int) -> Instance:
    """The same episode with another future: all that comes after step t is scaled, as are its forecasts."""
    rng = np.random.default_rng(5)

    def scale(x: np.ndarray) -> np.ndarray:
        out = np.array(x, dtype=float)
        out[t + 1 :] *= rng.uniform(0.5, 2.0, size=out[t + 1 :].shape)
        return out

    exo = instance.exogenous.map(scale)
    fixed = {
        "job_open": instance.exogenous.job_open,
        "battery_target_mwh": instance.exogenous.battery_target_mwh,
    }
    values = instance.forecast.values.copy()
    values[t + 1 :] *= 3
    active = instance.knowledge.event_active.copy()
    active[t + 1 :] ^= ~np.array([e.announced for e in instance.scenario.events]) & ~active[t]
    return replace(
        instance,
        exogenous=exo.replace(**fixed),
        forecast=replace(instance.forecast, values=values),
        knowledge=instance.knowledge.replace(event_active=active),
    )


@pytest.mark.parametrize("kind", ["persistence", "day_ahead"])
@pytest.mark.parametrize("t", [0, 5, 30, 47])
def test_the_outlook_does_not_depend_on_the_future(kind: str, t: int) -> None:
    instance = batch_of(kind)[2]
    before = exogenous_forecast(instance, t, 30)
    after = exogenous_forecast(changed_after(instance, t), t, 30)
    assert same(before, after)


def test_persistence_forecasts_do_not_depend_on_the_future() -> None:
    rng = np.random.default_rng(1)
    seen = rng.standard_normal((2, 72, 3))
    other = seen.copy()
    other[:, 24 + 11 :] = 0
    leads = [1, 2, 24, 36]
    before, after = (persistence(x, 48, leads, 24)[:, :11] for x in (seen, other))
    assert np.array_equal(before, after)


def test_day_ahead_without_skill_does_not_depend_on_the_truth() -> None:
    """Another year of prices and weather changes nothing but the climatology that all know."""
    blind = {"skill_first": 0.0, "skill_last": 0.0}
    regions = [{**r, "noise": 0.0} for r in SMALL["regions"]]
    a, b = batch_of("day_ahead", range(2), forecast=blind, events=[], regions=regions, start=DAY)
    assert not np.array_equal(a.exogenous.buy_usd_per_mwh, b.exogenous.buy_usd_per_mwh)
    assert np.array_equal(a.forecast.values, b.forecast.values)


DAY = {"first": "2023-05-03", "last": "2023-05-03"}


# Outlook -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["perfect", "persistence", "day_ahead"])
@pytest.mark.parametrize("t", [0, 20, 45, 47])
def test_the_outlook_starts_with_the_truth_and_holds_the_forecasts(kind: str, t: int) -> None:
    instance = batch_of(kind)[1]
    outlook = exogenous_forecast(instance, t, 30)
    sizes = min(30, 48 - t)
    for name in Exogenous.names():
        assert np.array_equal(getattr(outlook, name)[0], getattr(instance.exogenous, name)[t]), name
        assert getattr(outlook, name).shape == (sizes, *getattr(instance.exogenous, name).shape[1:]), name
        assert np.isfinite(getattr(outlook, name)).all()
    for i, lead in enumerate(instance.forecast.leads):
        if lead < sizes:
            at = instance.forecast
            assert outlook.buy_usd_per_mwh[lead] == pytest.approx(at.buy_usd_per_mwh[t, i], rel=1e-5)
            assert outlook.carbon_marginal_kg_per_mwh[lead] == pytest.approx(at.carbon_kg_per_mwh[t, i])
            assert outlook.renewable_available_mw[lead] == pytest.approx(at.renewable_mw[t, i], abs=1e-6)
            assert outlook.arrivals_gpuh[lead].sum(-1) == pytest.approx(at.arrivals_gpuh[t, i], rel=1e-5)


def test_the_perfect_outlook_is_the_truth() -> None:
    instance = batch_of("perfect")[0]
    assert same(exogenous_forecast(instance, 7, 10), instance.exogenous.map(lambda x: x[7:17]))


def test_the_outlook_keeps_the_rules_of_the_exogenous_arrays() -> None:
    instance = batch_of("day_ahead")[3]
    outlook = exogenous_forecast(instance, 40, 99)
    assert not outlook.queue_limit_gpuh[-1].any()
    assert outlook.battery_target_mwh[-1].tolist() == [1.0, 0.0]
    assert not outlook.battery_target_mwh[:-1].any()
    middle = exogenous_forecast(instance, 10, 12)
    batch_row = middle.arrivals_gpuh[..., 2]
    assert middle.queue_limit_gpuh[8, :, 2] == pytest.approx(batch_row[3:9].sum(0))
    past = instance.exogenous.arrivals_gpuh[7:10, :, 2].sum(0)
    assert middle.queue_limit_gpuh[2, :, 2] == pytest.approx(past + batch_row[:3].sum(0))
    assert middle.queue_limit_gpuh[-1, :, 2] == pytest.approx(batch_row[-6:].sum(0))
    ratio = middle.arrivals_gpuh[1:, :, 0] / middle.arrivals_gpuh[:-1, :, 0]
    assert middle.growth[1:, :, 0] == pytest.approx(ratio)
    assert (middle.sell_usd_per_mwh < middle.buy_usd_per_mwh).all()
    assert np.array_equal(middle.job_open, instance.exogenous.job_open[10:22])


def test_the_outlook_knows_announced_limits_day_ahead_and_the_present_ones_with_persistence() -> None:
    for b in range(4):
        exo = batch_of("day_ahead")[b].exogenous
        told, same_as_now = (exogenous_forecast(batch_of(k)[b], 3, 40) for k in ("day_ahead", "persistence"))
        for name in ("available_gpus", "import_limit_mw"):
            assert np.array_equal(getattr(told, name), getattr(exo, name)[3:43])
            assert (getattr(same_as_now, name) == getattr(exo, name)[3]).all()


def test_the_outlook_knows_yesterday_s_pue() -> None:
    instance = batch_of("persistence")[0]
    outlook = exogenous_forecast(instance, 3, 40)
    seen = np.concatenate([instance.knowledge.history_pue, instance.exogenous.pue])
    assert np.array_equal(outlook.pue[1:24], seen[4:27])
    assert np.array_equal(outlook.pue[24], instance.exogenous.pue[3])


def test_the_outlook_beyond_the_last_lead_fades_to_climatology() -> None:
    instance = batch_of("day_ahead", horizon_h=168.0, events=[], jobs=[])[0]
    outlook = exogenous_forecast(instance, 0, 168)
    assert outlook.buy_usd_per_mwh[150:] == pytest.approx(instance.knowledge.climatology[150:, :2], rel=0.02)


def test_outlook_asked_for_out_of_range() -> None:
    instance = batch_of("persistence")[0]
    with pytest.raises(IndexError, match="t = 48: the episode has steps 0 to 47"):
        exogenous_forecast(instance, 48, 3)
    with pytest.raises(ValueError, match="horizon_steps = 0"):
        exogenous_forecast(instance, 0, 0)
