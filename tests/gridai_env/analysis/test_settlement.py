"""Baselines, settlement, payments, peaks and rebound by hand; what a world pays, in played episodes."""

import csv
from pathlib import Path

import numpy as np
import pytest

from baselines.rules.single_signal import LocalOnly
from gridai_env.analysis.compliance import uncalled
from gridai_env.analysis.customer_baselines import (
    FIRM_SERVICE_LEVEL,
    HIGHEST_4_OF_5,
    MEAN,
    adjustment_window,
    baseline_inflation_mw,
    eligible_days,
    highest_of_last,
    mean_of_last,
    shifted_to_day,
    ten_in_ten,
)
from gridai_env.analysis.responses import event_statements
from gridai_env.analysis.settlement import (
    EventStatement,
    Prices,
    Rebound,
    rebounds,
    settle_event,
)
from gridai_env.rollout.run import run
from tests.support.called_day import called_day

EVENT = np.isin(np.arange(24), (14, 15, 16, 17))  # four hours
FLAT = np.full((10, 24), 100.0)
ENERGY, SHORTFALL, PRICE = 150.0, 1150.0, 40.0  # USD/MWh


def days(*levels_mw: float) -> np.ndarray:
    return np.repeat(np.array(levels_mw)[:, None], 24, axis=1)


# Baselines ----------------------------------------------------------------------------------------------------


def test_mean_and_highest_four_of_five_by_hand() -> None:
    history = days(500.0, 90.0, 95.0, 100.0, 105.0, 110.0)  # the first is too old for five days
    assert (mean_of_last(history, 5) == 100.0).all()
    assert (highest_of_last(history, EVENT) == 102.5).all()
    assert (highest_of_last(history, EVENT, highest=2, last=3) == 107.5).all()


def test_days_are_ranked_by_the_hours_of_the_event() -> None:
    history = days(10.0, 95.0, 100.0, 105.0, 110.0)
    history[0, EVENT] = 200.0  # low all day, and highest when it counts
    found = highest_of_last(history, EVENT)
    assert found[14] == (200.0 + 100.0 + 105.0 + 110.0) / 4 and found[0] == (10.0 + 100.0 + 105.0 + 110.0) / 4


@pytest.mark.parametrize(
    ("before_mw", "expected"), [(100.0, 100.0), (110.0, 110.0), (85.0, 85.0), (150.0, 120.0), (10.0, 80.0)]
)
def test_ten_in_ten_follows_the_day_within_a_fifth(before_mw: float, expected: float) -> None:
    today, window = np.full(24, 1000.0), adjustment_window(14, 24, 1.0)
    today[window] = before_mw
    assert ten_in_ten(FLAT, today, window) == pytest.approx(np.full(24, expected))


def test_an_additive_adjustment_has_no_cap() -> None:
    today, window = np.full(24, 100.0), adjustment_window(14, 24, 1.0)
    today[window] = 10.0, 20.0, 60.0
    assert shifted_to_day(mean_of_last(FLAT, 10), today, window) == pytest.approx(np.full(24, 30.0))


def test_the_adjustment_window_ends_an_hour_before_the_event() -> None:
    assert np.flatnonzero(adjustment_window(14, 24, 1.0)).tolist() == [10, 11, 12]
    assert np.flatnonzero(adjustment_window(28, 48, 0.5)).tolist() == [20, 21, 22, 23, 24, 25]
    with pytest.raises(ValueError, match="begins 3 h after midnight, needs 4"):
        adjustment_window(3, 24, 1.0)


def test_eligible_days_are_of_the_same_kind_and_without_event() -> None:
    is_weekend, had_event = np.zeros(15, dtype=bool), np.zeros(15, dtype=bool)
    is_weekend[[5, 6, 12, 13]] = True
    had_event[[8, 14]] = True
    assert eligible_days(14, is_weekend, had_event, 5).tolist() == [4, 7, 9, 10, 11]
    assert eligible_days(13, is_weekend, had_event, 3).tolist() == [5, 6, 12]
    with pytest.raises(ValueError, match="a baseline of 3 weekend days before day 12: only 2 are eligible"):
        eligible_days(12, is_weekend, had_event, 3)


def test_baselines_need_their_days() -> None:
    for call in (
        lambda: mean_of_last(FLAT, 11),
        lambda: mean_of_last(FLAT, 0),
        lambda: highest_of_last(FLAT[:4], EVENT),
        lambda: ten_in_ten(FLAT[:9], FLAT[0], EVENT),
    ):
        with pytest.raises(ValueError, match="the history has"):
            call()
    with pytest.raises(ValueError, match="is -100 MW, not above 0"):
        ten_in_ten(-FLAT, FLAT[0], EVENT)


# Settlement ---------------------------------------------------------------------------------------------------


def test_settlement_by_hand() -> None:
    baseline = mean_of_last(FLAT, 10)[EVENT]
    done = settle_event(np.full(4, 85.0), baseline, 20.0, Prices(ENERGY, SHORTFALL), 1.0)
    assert (done.committed_mwh, done.delivered_mwh, done.line_excess_mwh) == (80.0, 60.0, 20.0)
    assert (done.energy_usd, done.shortfall_usd, done.delivered_share) == (9_000.0, -23_000.0, 0.75)


def test_more_than_committed_is_not_paid_and_steps_do_not_make_up_for_each_other() -> None:
    done = settle_event(
        np.array([60.0, 100.0]), np.full(2, 100.0), 20.0, Prices(np.array([100.0, 300.0]), 10.0), 0.5
    )
    assert (done.delivered_mwh, done.energy_usd) == (10.0, 1_000.0)
    assert (done.line_excess_mwh, done.shortfall_usd, done.delivered_share) == (10.0, -100.0, 0.5)


def test_the_floor_belongs_to_the_statement() -> None:
    above = (np.full(4, 110.0), np.full(4, 100.0), 20.0, Prices(ENERGY, SHORTFALL), 1.0)
    statement, ledger = settle_event(*above), settle_event(*above, floor=False)
    assert (statement.energy_usd, statement.delivered_share) == (0.0, 0.0)
    assert (ledger.energy_usd, ledger.delivered_mwh) == (-6_000.0, -40.0)
    assert statement.line_excess_mwh == ledger.line_excess_mwh == 120.0
    assert statement.shortfall_usd == ledger.shortfall_usd == -138_000.0


def test_no_commitment_is_no_performance_and_less_is_refused() -> None:
    assert np.isnan(settle_event(np.ones(2), np.ones(2), 0.0, Prices(1.0), 1.0).delivered_share)
    with pytest.raises(ValueError, match=r"commitment_mw = -1.0: must be at least 0 \[MW\]"):
        settle_event(np.ones(2), np.ones(2), -1.0, Prices(1.0), 1.0)


# In played episodes ---------------------------------------------------------------------------------------------

RESPONSE = {
    "kind": "demand_response", "mw": 80.0, "commitment_mw": 20.0, "energy_price_usd_per_mwh": ENERGY,
    "price_usd_per_mwh": SHORTFALL, "capacity_usd_per_mw_day": 333.44,
}  # fmt: skip


def test_an_episode_pays_as_by_hand() -> None:
    """Down to 80 MW, 20 less than 100; 85 MW are imported in the four hours."""
    load_mw = np.where(EVENT, 85.0, 100.0)
    episode = run(LocalOnly(), called_day(RESPONSE, np.flatnonzero(EVENT).tolist(), load_mw))
    assert episode.flows.import_mw[:, 0] == pytest.approx(load_mw)
    assert episode.terms["dr_energy"] == pytest.approx(9_000.0)
    assert episode.terms["line_excess"] == pytest.approx(-23_000.0)
    assert episode.terms["dr_capacity"] == pytest.approx(24 * 277.87, abs=24 * 0.005)
    assert episode.metrics["delivered_share/a/line"] == pytest.approx(0.75)
    assert (episode.metrics["called_h/a/line"], episode.metrics["called_mwh/a/line"]) == (
        4.0,
        pytest.approx(340.0),
    )

    own, *others = event_statements(episode, run(LocalOnly(), uncalled(episode.instance)))
    done = own.settlement
    assert (own.baseline, own.start_utc[11:]) == (FIRM_SERVICE_LEVEL, "14:00Z")
    assert (done.baseline_mw, done.energy_usd, done.shortfall_usd) == pytest.approx((100.0, 9e3, -23e3))
    assert len(others) == 2 and all(np.isnan(other.baseline_inflation_mw) for other in others)
    assert own.baseline_inflation_mw == pytest.approx(0.0, abs=1e-9)  # a firm service level cannot be raised


def test_coincident_peaks_are_calls_of_an_hour() -> None:
    """70,000 USD per MW and year on the mean of four peaks are 17,500 USD for a MW at each of them."""
    peaks, price = [6, 11, 15, 19], 70_000.0 / 4.0
    line = {"kind": "connection", "mw": 0.0, "price_usd_per_mwh": price}
    full = run(LocalOnly(), called_day(line, peaks, 100.0))
    once = run(LocalOnly(), called_day(line, peaks, np.where(np.arange(24) == peaks[1], 25.0, 100.0)))
    assert full.terms["line_excess"] == pytest.approx(-7.0e6)
    assert once.terms["line_excess"] == pytest.approx(-5.6875e6)
    assert once.terms["line_excess"] - full.terms["line_excess"] == pytest.approx(75.0 * 17_500.0)


# Gaming -------------------------------------------------------------------------------------------------------


def gain_usd(prices: Prices, commitment_mw: float, raised_mw: float = 10.0) -> float:
    """What an event earns more after ten days with ``raised_mw`` more import in its hours; 85 MW are imported in it."""
    raised = FLAT + raised_mw * EVENT
    before, after = (
        settle_event(np.full(4, 85.0), mean_of_last(history, 10)[EVENT], commitment_mw, prices, 1.0)
        for history in (FLAT, raised)
    )
    return after.energy_usd + after.shortfall_usd - before.energy_usd - before.shortfall_usd


def test_raising_a_baseline_by_hand() -> None:
    raised = FLAT + 10.0 * EVENT
    cost = PRICE * (raised - FLAT).sum()
    assert cost == 16_000.0
    assert baseline_inflation_mw(mean_of_last(raised, 10)[EVENT], mean_of_last(FLAT, 10)[EVENT]) == 10.0
    # Committed to 30 MW a site that gives 15 is short by more than the 10 MW that it can feign.
    assert gain_usd(Prices(ENERGY), 30.0) == 6_000.0 < cost
    assert gain_usd(Prices(0.0, SHORTFALL), 30.0) == 46_000.0 > cost
    assert gain_usd(Prices(ENERGY, SHORTFALL), 15.0) == 0.0  # one that is not short gains nothing


def test_the_price_at_which_gaming_pays() -> None:
    low, high = 150.0, 1_150.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if gain_usd(Prices(0.0, middle), 30.0) < 16_000.0 else (low, middle)
    assert low == pytest.approx(400.0, rel=1e-9)


# Peaks, rebound, statement ------------------------------------------------------------------------------------


def test_rebound_after_each_call_by_hand() -> None:
    reference = np.full(12, 100.0)
    called = np.isin(np.arange(12), (2, 3, 6, 10, 11))
    imported = np.array([100, 100, 60, 80, 115, 95, 100, 110, 120, 130, 90, 90], dtype=float)
    first, second, third = rebounds(imported, reference, called, 2.0, 1.0)
    assert first == Rebound(15.0, 15.0, 15.0 / 60.0)  # below the reference is no rebound
    assert (second.energy_mwh, second.peak_mw) == (30.0, 20.0) and np.isnan(second.share)  # took nothing away
    assert third == Rebound(0.0, 0.0, 0.0)  # the episode ends with the call
    first, *_ = rebounds(imported, reference, called, 8.0, 1.0)
    assert first.energy_mwh == 15.0  # the next call ends it
    assert next(iter(rebounds(imported, reference, called, 2.0, 0.5))).energy_mwh == 0.5 * 15.0


def test_a_statement_is_a_row_of_a_table(tmp_path: Path) -> None:
    from scripts.runs.tables import write_rows

    done = settle_event(np.full(4, 85.0), np.full(4, 102.5), 20.0, Prices(ENERGY, SHORTFALL), 1.0)
    statements = [
        EventStatement("Ashburn", "dr", 1, "2022-07-20T18:00Z", HIGHEST_4_OF_5, done, 2.5),
        EventStatement("Ashburn", "dr", 1, "2022-07-20T18:00Z", MEAN, done, rebound=Rebound(8.0, 5.0, 0.1)),
    ]
    write_rows([statement.row() for statement in statements], tmp_path / "settlement.csv")
    with (tmp_path / "settlement.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["baseline_optimised"], second["baseline_optimised"]) == ("no", "yes")
    assert (first["energy_usd"], first["shortfall_usd"], first["delivered_share"]) == (
        "10500.0",
        "-11500.0",
        "0.875",
    )
    assert (first["baseline_inflation_mw"], first["rebound_mwh"], second["rebound_peak_mw"]) == (
        "2.5",
        "",
        "5.0",
    )
