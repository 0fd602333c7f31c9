"""The error model of forecasts: its mean, its spread, and how the truth really strays from what is foreseen."""

from typing import Any

import numpy as np
import pytest

from gridai_env import make_instance
from gridai_env.episodes.events import EventTable
from gridai_env.episodes.forecast import MEDIAN_OF_NORMAL
from gridai_env.episodes.forecast_error import MEMORY, ErrorModel, _Known, _weights, usual_deviation
from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.episodes.planner_series import forecast_series
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.state import Exogenous
from tests.support.small_scenario import small

T, END = 5, 24
KEPT = MEMORY[1][0][1]
REGIONS = slice(6, 8)  # series of two_sites: 2 prices, 2 of carbon, 2 of renewables, arrivals of 2 regions


def batch(kind: str = "day_ahead", count: int = 4) -> list[Instance]:
    return list(make_batch(small(forecast={"kind": kind}), range(count)))


def test_the_mean_of_the_futures_is_the_forecast() -> None:
    for instance in batch():
        strays = ErrorModel.of(instance, filtered=False).draw(T, END, 8)
        series = np.stack([stray.series for stray in strays])
        assert np.abs(series.mean(0)).max() < 1e-12 * np.abs(series).max()
        assert not series[:, 0].any() and series[:, 1:].any((1, 2)).all()
        seen = exogenous_forecast(instance, T, END - T)
        prices = [exogenous_forecast(instance, T, END - T, None, stray).buy_usd_per_mwh for stray in strays]
        np.testing.assert_allclose(np.mean(prices, axis=0), seen.buy_usd_per_mwh, rtol=1e-9)


def test_one_future_is_the_forecast() -> None:
    for kind in ("day_ahead", "persistence", "published", "perfect"):
        instance = batch(kind, 1)[0]
        (stray,) = ErrorModel.of(instance, filtered=False).draw(T, T + 9, 1)
        assert not stray.series.any()
        alike, seen = exogenous_forecast(instance, T, 9, None, stray), exogenous_forecast(instance, T, 9)
        assert all(np.array_equal(getattr(alike, name), getattr(seen, name)) for name in Exogenous.names())


def test_the_spread_is_the_declared_skill() -> None:
    """At each lead 1 - skill of the usual variance, which here is that of the calendar's noise."""
    instance = make_instance("two_sites", seed=5)
    model, rules = ErrorModel.of(instance, filtered=False), instance.compiled.forecast
    drawn = np.stack([stray.series for stray in model.draw(T, END, 4000)])
    usual = instance.compiled.regions.noise * instance.knowledge.climatology[T:END, REGIONS]
    np.testing.assert_allclose(model.scale(T, END)[:, REGIONS], usual, rtol=1e-4)
    spread = (drawn.std(0)[:, REGIONS] / usual) ** 2
    for lead, skill in zip(rules.lead_steps, rules.skill, strict=True):
        if lead < END - T:  # issued at T itself
            assert spread[lead] == pytest.approx(1.0 - skill, rel=0.1)
    # A step between two leads was last forecast at the longer one, before T.
    assert spread[4] == pytest.approx(1.0 - rules.skill[3], rel=0.1)
    # Neighbours share what persists of the truth.
    unit, r = drawn[..., REGIONS] / usual, rules.skill[3]
    assert (unit[:, 4] * unit[:, 5]).mean() == pytest.approx((1 - r) ** 2 * KEPT, rel=0.15)
    # Beyond the leads a guess fades: at twice a fade's time little is left of it, and errors are those of climatology.
    assert 0.7 < spread[-1].mean() < 1.0


def errors_of(filtered: bool, episodes: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """The arrivals' real errors over training episodes, [episodes,h,C], and drawn ones, in usual deviations."""
    found = []
    for instance in make_batch(compile_scenario(load_scenario("two_sites")), range(5000, 5000 + episodes)):
        model = ErrorModel.of(instance, filtered=filtered)
        (mean,) = model.draw(T, END, 1)
        seen = exogenous_forecast(instance, T, END - T, None, mean).arrivals_gpuh.sum(-1)
        error = instance.exogenous.arrivals_gpuh.sum(-1)[T:END] - seen
        found.append(error / model.usual[T:END, REGIONS])
    strays = np.stack([stray.series - mean.series for stray in model.draw(T, END, 4000)])[..., REGIONS]
    return np.stack(found), strays / model.usual[T:END, REGIONS]


@pytest.mark.parametrize("filtered", [False, True])
def test_the_truth_strays_as_the_model_says(filtered: bool) -> None:
    """Variance and correlation of neighbours of the arrivals' real errors; none is biased."""
    errors, drawn = errors_of(filtered)
    for hours in (slice(1, 4), slice(4, 8), slice(8, 13), slice(13, None)):
        real, said = errors[:, hours], drawn[:, hours]
        assert (real**2).mean() == pytest.approx((said**2).mean(), rel=0.25)
        pairs = [(x[:, 1:] * x[:, :-1]).mean() for x in (real, said)]
        assert pairs[0] == pytest.approx(pairs[1], rel=0.3, abs=0.05)
    assert abs(errors.mean()) < 0.06


def test_the_filtered_mean_is_nearer_to_the_truth() -> None:
    plain, filtered = (errors_of(way)[0] for way in (False, True))
    assert (filtered**2).mean() < 0.85 * (plain**2).mean()


def test_the_filtered_mean_is_that_of_all_pasts_that_fit() -> None:
    """Brute force: of 400,000 drawn truths and forecasts, the mean of those whose forecasts are near the given ones."""
    skill, kept, rng = np.array([1.0, 0.7, 0.5]), KEPT, np.random.default_rng(3)
    truth = rng.standard_normal((400_000, 4))
    for hour in range(1, 4):
        truth[:, hour] = kept * truth[:, hour - 1] + np.sqrt(1 - kept**2) * truth[:, hour]
    at = np.array([0, 1, 3])
    issued = skill * truth[:, at] + np.sqrt(skill * (1 - skill)) * rng.standard_normal((400_000, 3))
    given = np.array([0.4, 0.1, -0.3])
    near = (np.abs(issued - given) < 0.15).all(-1)
    weights = _weights(_Known(at, skill, at), 4, 1.0, MEMORY[1])
    assert near.sum() > 1000
    np.testing.assert_allclose(weights @ given, truth[near].mean(0), atol=0.06)
    assert weights[0] == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)  # the present is known


def test_prices_far_from_usual_are_the_least_certain() -> None:
    instance = batch()[1]
    model = ErrorModel.of(instance)
    active = instance.knowledge.event_active
    known = EventTable(active[T:END], instance.compiled.events).as_foreseen(active[T], "day_ahead")
    seen = forecast_series(instance, T, END, known, "day_ahead")[:, :2]
    usual_usd = known.shocked_usd_per_mwh(instance.knowledge.climatology[T:END, :2].astype(float))
    strays = np.abs(seen - usual_usd)
    known_size = model.usual[T:END, :2] * known.limit_factor("price")
    assert (strays > known_size).any()
    np.testing.assert_allclose(model.scale(T, END)[:, :2], np.maximum(strays, known_size))


def test_what_is_known_does_not_stray() -> None:
    published = batch("published", 1)[0]
    drawn = ErrorModel.of(published).draw(T, 48, 2)[0].series
    prices = drawn[:, :2] != 0.0
    assert (
        not prices[:6].any() and prices[40:].all()
    )  # today's prices are published, those of the day after are not
    perfect = batch("perfect", 1)[0]
    assert not ErrorModel.of(perfect).draw(T, END, 2)[0].series.any()


def test_the_usual_deviation_is_not_of_the_episode() -> None:
    """Other draws of the same start have the same; it is the standard deviation where the median is typical."""
    day: dict[str, Any] = {"start": "2023-03-10T00"}
    a, b = (make_instance("two_sites", seed=seed, **day) for seed in (1, 2))
    assert np.array_equal(usual_deviation(a), usual_deviation(b))
    noise = a.compiled.regions.noise * a.knowledge.climatology[:, REGIONS]
    np.testing.assert_allclose(usual_deviation(a)[:, REGIONS], noise, rtol=1e-4)
    assert 0.6 < MEDIAN_OF_NORMAL < 0.7


def test_futures_come_in_pairs() -> None:
    model = ErrorModel.of(batch(count=1)[0])
    for count in (0, 3):
        with pytest.raises(ValueError, match="even number"):
            model.draw(T, END, count)
