"""The synthetic generator reproduces its calibration, and every episode stands alone."""

from __future__ import annotations

import numpy as np
import pytest

from gridai_env.traces import TraceError, ZoneSeries, known_zones, synthetic_series
from gridai_env.traces.calibration import (
    VARIABLES,
    residual_correlation,
    zone_calibration,
)
from gridai_env.traces.local_time import local_month_hour
from gridai_env.traces.series import CLIMATOLOGY_OF, VALUES
from gridai_env.traces.zone_tables import zone_model
from tests.support.calibration_statistics import observed_statistics

FIELD = dict(
    zip(
        VARIABLES,
        ("price_usd_per_mwh", "carbon_average_kg_per_mwh", "wetbulb_c", "pv_cf", "wind_cf"),
        strict=True,
    )
)
EXPECTED = {
    "price": "price_climatology_usd_per_mwh",
    "carbon": "carbon_average_climatology_kg_per_mwh",
    "pv": "pv_cf_climatology",
    "wind": "wind_cf_climatology",
}
WEEK_H = 168
STATISTICS = observed_statistics()


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[m]")


def generators(*seeds: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


@pytest.fixture(scope="module")
def year() -> ZoneSeries:
    """All zones, 500 weeks whose starts are spread evenly over 2023."""
    first = stamps("2023-01-01T00:00")[0]
    start = first + (np.arange(500) * 8760 // 500 * 60).astype("timedelta64[m]")
    return synthetic_series(known_zones(), start, WEEK_H, 1.0, generators(*range(500)))


def lag1(x: np.ndarray) -> float:
    y = x - x.mean()
    return float((y[:, 1:] * y[:, :-1]).mean() / (y * y).mean())


@pytest.mark.parametrize("zone", known_zones())
def test_mean_and_spread_match_the_calibration_year(year: ZoneSeries, zone: str) -> None:
    """Mean within 2 % (wet bulb 0.1 K) and 4 standard errors of 500 weeks; sd within 10 % (price 25 %)."""
    i = year.zones.index(zone)
    for name in VARIABLES:
        x, seen = getattr(year, FIELD[name])[:, :, i], STATISTICS[zone, name]
        weekly = x.mean(axis=1) - (
            getattr(year, EXPECTED[name])[:, :, i].mean(axis=1) if name in EXPECTED else 0
        )
        allowed = 4 * weekly.std() / np.sqrt(len(weekly)) + (
            0.1 if name == "wetbulb" else 0.02 * seen["mean"]
        )
        assert abs(x.mean() - seen["mean"]) < allowed, name
        assert x.std() == pytest.approx(seen["sd"], rel=0.25 if name == "price" else 0.1), name
        assert x.max() <= seen["max"] * (1.6 if name == "price" else 1.01) + 0.1, name


@pytest.mark.parametrize("zone", known_zones())
def test_memory_matches_the_calibration_year(year: ZoneSeries, zone: str) -> None:
    """Lag-1 autocorrelation of residuals within 0.04; price within 0.3: spikes come and go faster than
    real ones.
    """
    i = year.zones.index(zone)
    for name, expected in EXPECTED.items():
        residual = getattr(year, FIELD[name])[:, :, i] - getattr(year, expected)[:, :, i]
        seen = STATISTICS[zone, name]["residual_ac1"]
        assert lag1(residual) == pytest.approx(seen, abs=0.3 if name == "price" else 0.04), name


@pytest.mark.parametrize("zone", known_zones())
def test_zero_and_negative_prices_are_as_frequent_as_observed(year: ZoneSeries, zone: str) -> None:
    price = year.price_usd_per_mwh[:, :, year.zones.index(zone)]
    seen = STATISTICS[zone, "price"]
    assert (price < 0).mean() == pytest.approx(seen["share_lt_0"], rel=0.2, abs=0.012)
    assert (price <= 0).mean() == pytest.approx(seen["share_le_0"], rel=0.25, abs=0.015)


def test_price_spikes_have_the_observed_tail(year: ZoneSeries) -> None:
    for i, zone in enumerate(year.zones):
        price = year.price_usd_per_mwh[:, :, i]
        assert np.quantile(price, 0.99) == pytest.approx(STATISTICS[zone, "price"]["p99"], rel=0.4), zone
    texas = year.price_usd_per_mwh[:, :, year.zones.index("US-TEX-ERCO")]
    assert (texas > 1000).mean() == pytest.approx(0.0083, rel=0.5)  # 73 hours of 2023


def test_spikes_last(year: ZoneSeries) -> None:
    """A Texan hour above 1000 USD/MWh is followed by another far more often than by chance (1 %)."""
    high = year.price_usd_per_mwh[:, :, year.zones.index("US-TEX-ERCO")] > 1000
    assert (high[:, 1:] & high[:, :-1]).sum() / high[:, :-1].sum() > 0.3


@pytest.mark.parametrize(
    ("first", "second"),
    [("US-MIDA-PJM", "US-NY-NYIS"), ("DE-LU", "GB"), ("AU-NSW", "AU-VIC"), ("DE-LU", "SG")],
)
def test_zones_move_together_as_observed(year: ZoneSeries, first: str, second: str) -> None:
    """Correlation of residuals: carbon within 0.1 of the table (of normal scores), price by rank within
    0.15.
    """
    i, j = year.zones.index(first), year.zones.index(second)
    table = residual_correlation((first, second))
    carbon = year.carbon_average_kg_per_mwh - year.carbon_average_climatology_kg_per_mwh
    assert np.corrcoef(carbon[:, :, i].ravel(), carbon[:, :, j].ravel())[0, 1] == pytest.approx(
        table[1, 6], abs=0.1
    )
    price = year.price_usd_per_mwh - year.price_climatology_usd_per_mwh
    ranks = [np.argsort(np.argsort(price[:, :, k].ravel())) for k in (i, j)]
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(table[0, 5], abs=0.15)


def test_german_prices_follow_carbon_and_avoid_wind(year: ZoneSeries) -> None:
    """Rank correlation of residuals in the panel of 2023: price with carbon 0.86, price with wind -0.44."""
    i = year.zones.index("DE-LU")
    price, carbon, wind = (
        np.argsort(np.argsort((getattr(year, FIELD[name]) - getattr(year, EXPECTED[name]))[:, :, i].ravel()))
        for name in ("price", "carbon", "wind")
    )
    assert np.corrcoef(price, carbon)[0, 1] == pytest.approx(0.86, abs=0.15)
    assert np.corrcoef(price, wind)[0, 1] == pytest.approx(-0.44, abs=0.15)


def test_correlation_of_the_latent_normals_is_the_tabulated_one() -> None:
    """Largest deviation 0.15 over all pairs, root mean square below 0.02 (what a positive definite matrix
    allows).
    """
    zones = known_zones()
    model = zone_model(zones)
    n = len(zones) * len(VARIABLES)
    covariance = model.start_factor @ model.start_factor.T
    mixed = np.outer(model.slow_weight, model.slow_weight) * covariance[:n, :n]
    mixed += np.outer(model.fast_weight, model.fast_weight) * covariance[n : 2 * n, n : 2 * n]
    deviation = mixed - residual_correlation(zones)
    assert np.abs(deviation).max() < 0.15
    assert np.sqrt((deviation**2).mean()) < 0.02
    np.testing.assert_allclose(np.diag(mixed), 1.0, atol=1e-9)


def test_memory_is_stationary_from_the_first_hour() -> None:
    """The latent covariance reproduces itself: phi * C * phi + innovations = C."""
    model = zone_model(known_zones())
    covariance = model.start_factor @ model.start_factor.T
    innovations = model.innovation_factor @ model.innovation_factor.T
    np.testing.assert_allclose(
        model.phi[:, None] * covariance * model.phi + innovations, covariance, atol=1e-6
    )


def test_marginal_carbon_keeps_the_annual_factor_and_falls_at_surplus(year: ZoneSeries) -> None:
    for i, zone in enumerate(year.zones):
        marginal, price = year.carbon_marginal_kg_per_mwh[:, :, i], year.price_usd_per_mwh[:, :, i]
        assert marginal.mean() == pytest.approx(zone_calibration(zone).marginal_kg_per_mwh, rel=0.02), zone
        assert marginal.min() > 0
        if (price <= 0).any():
            assert marginal[price <= 0].max() < 0.2 * marginal[price > 0].min()
        expected = year.carbon_marginal_climatology_kg_per_mwh[:, :, i]
        assert expected.mean() == pytest.approx(marginal.mean(), rel=0.02), zone


def test_values_stay_in_their_ranges_and_pv_sleeps_at_night(year: ZoneSeries) -> None:
    for name in (*VALUES, *CLIMATOLOGY_OF.values()):
        assert np.isfinite(getattr(year, name)).all(), name
    assert (year.carbon_average_kg_per_mwh >= 0).all()
    for name in ("pv_cf", "wind_cf", "pv_cf_climatology", "wind_cf_climatology"):
        assert getattr(year, name).min() >= 0 and getattr(year, name).max() <= 1, name
    for i, zone in enumerate(year.zones):
        hour = year.local_hour(zone_calibration(zone).timezone)
        assert (year.pv_cf[:, :, i][(hour <= 3) | (hour >= 22)] == 0).all(), zone
        assert year.pv_cf[:, :, i][hour == 12].mean() > 0.2, zone


def test_climatology_is_the_mean_for_month_and_hour(year: ZoneSeries) -> None:
    """Averaged over many episodes, an hour of the day is what the climatology expects."""
    for i, zone in enumerate(year.zones):
        hour = year.local_hour(zone_calibration(zone).timezone)
        for name in ("price", "carbon", "wind", "pv"):
            x, expected = getattr(year, FIELD[name])[:, :, i], getattr(year, EXPECTED[name])[:, :, i]
            for h in (3, 12, 19):
                rows = hour == h
                assert x[rows].mean() == pytest.approx(
                    expected[rows].mean(), rel=0.25 if name == "price" else 0.08, abs=0.01
                ), (zone, name, h)


@pytest.mark.parametrize("dt_h", [1.0, 0.5, 0.25])
def test_an_episode_of_a_batch_is_the_episode_alone_bit_for_bit(dt_h: float) -> None:
    zones = ("US-CAL-CISO", "AU-VIC", "IN-WE")
    start = stamps(
        "2023-03-11T07:00", "2024-02-28T20:00", "2021-12-31T22:00", "2023-10-28T00:00", "2023-06-01T05:00"
    )
    seeds = (0, 1, 2, 0, 2**63)
    batch = synthetic_series(zones, start, 97, dt_h, generators(*seeds))
    for b, seed in enumerate(seeds):
        alone = synthetic_series(zones, start[b : b + 1], 97, dt_h, generators(seed))
        for name in (*VALUES, *CLIMATOLOGY_OF.values()):
            np.testing.assert_array_equal(getattr(batch, name)[b], getattr(alone, name)[0], err_msg=name)


def test_equal_seeds_give_equal_series_and_other_seeds_others() -> None:
    start = stamps("2023-05-05T00:00")
    first, again, other = (synthetic_series(("GB",), start, 48, 1.0, generators(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.price_usd_per_mwh, again.price_usd_per_mwh)
    assert (first.price_usd_per_mwh != other.price_usd_per_mwh).any()


def test_local_hours_follow_daylight_saving() -> None:
    """Spring 2023: California skips hour 2 on 12 March; Victoria repeats hour 2 on 2 April; India has no
    change.
    """
    _, spring = local_month_hour("America/Los_Angeles", stamps("2023-03-12T08:00"), 4)
    assert spring.tolist() == [[0, 1, 3, 4]]
    _, autumn = local_month_hour("Australia/Melbourne", stamps("2023-04-01T14:00"), 4)
    assert autumn.tolist() == [[1, 2, 2, 3]]
    _, india = local_month_hour("Asia/Kolkata", stamps("2023-03-26T00:00"), 3)
    assert india.tolist() == [[5, 6, 7]]


def test_leap_day_and_new_year_in_local_time() -> None:
    month, hour = local_month_hour("America/New_York", stamps("2024-02-29T03:00", "2024-03-01T03:00"), 4)
    assert month.tolist() == [[1, 1, 1, 1], [1, 1, 2, 2]]
    assert hour.tolist() == [[22, 23, 0, 1], [22, 23, 0, 1]]
    month, _ = local_month_hour("Asia/Tokyo", stamps("2023-12-31T14:00"), 2)
    assert month.tolist() == [[11, 0]]


def test_local_time_agrees_with_the_calendar_over_three_years() -> None:
    from datetime import UTC, datetime, timedelta
    from zoneinfo import ZoneInfo

    first = datetime(2022, 12, 31, 23, tzinfo=UTC)
    for name in ("Europe/Berlin", "America/Santiago", "Australia/Sydney", "America/Sao_Paulo"):
        month, hour = local_month_hour(name, stamps("2022-12-31T23:00"), 3 * 8784)
        for i in range(0, 3 * 8784, 7):
            local = (first + timedelta(hours=i)).astimezone(ZoneInfo(name))
            assert (month[0, i], hour[0, i]) == (local.month - 1, local.hour), (name, local)


def test_quarter_hours_hold_price_and_interpolate_weather() -> None:
    start = stamps("2023-06-01T00:00")
    fine = synthetic_series(("DE-LU", "GB"), start, 96, 0.25, generators(3))
    by_hour = fine.price_usd_per_mwh.reshape(1, 24, 4, 2)
    assert (by_hour == by_hour[:, :, :1]).all()
    wet = fine.wetbulb_c[0, 2:-2, 0].reshape(-1, 4)  # from the centre of one hour to that of the next
    np.testing.assert_allclose(np.diff(wet, axis=1), np.diff(wet, axis=1)[:, :1].repeat(3, axis=1), atol=1e-9)
    np.testing.assert_array_equal(
        fine.times_utc()[0, :3], stamps("2023-06-01T00:00", "2023-06-01T00:15", "2023-06-01T00:30")
    )


def test_a_start_inside_the_hour_is_allowed_with_short_steps() -> None:
    series = synthetic_series(("GB",), stamps("2023-06-01T00:30"), 4, 0.25, generators(3))
    price = series.price_usd_per_mwh[0, :, 0]
    assert price[0] == price[1] != price[2] == price[3]


def test_provenance_says_what_is_made_up() -> None:
    series = synthetic_series(("US-NY-NYIS", "DE-LU"), stamps("2023-06-01T00:00"), 1, 1.0, generators(0))
    assert "own choice" in series.provenance["US-NY-NYIS"]
    assert "731.22 kg/MWh" in series.provenance["DE-LU"]
    assert all("synthetic" in line and "wet bulb" in line for line in series.provenance.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zones": ("ATLANTIS",)}, "not calibrated; known zones"),
        ({"zones": ()}, "at least one zone"),
        ({"zones": ("GB", "GB")}, "each once"),
        ({"steps": 0}, "at least 1 step"),
        ({"dt_h": 2.0}, "dt_h = 2.0"),
        ({"dt_h": 0.7}, "dt_h = 0.7"),
        ({"start_utc": stamps("2023-06-01T00:30")}, "multiple of dt_h"),
        ({"start_utc": np.array([5])}, "need datetime64"),
        ({"start_utc": stamps("NaT")}, "NaT"),
        ({"rngs": []}, "one generator per episode"),
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {
        "zones": ("GB",),
        "start_utc": stamps("2023-06-01T00:00"),
        "steps": 3,
        "dt_h": 1.0,
        "rngs": generators(0),
    }
    with pytest.raises(TraceError, match=message):
        synthetic_series(**{**good, **change})  # type: ignore[arg-type]
