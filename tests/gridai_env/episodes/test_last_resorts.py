"""Prices of last resorts with lines and power modes: what a MWh and a GPU-h are worth at most, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gridai_env.episodes.instance import make_batch
from gridai_env.episodes.last_resorts import facility_mwh_per_gpuh, last_resort_prices
from gridai_env.world.state import Exogenous
from tests.support.small_scenario import flexible


def test_lines_of_a_site_add_to_the_price_of_shedding() -> None:
    """Each at its highest, whenever that is, with payments for energy lost; of the sites the dearest."""
    batch = make_batch(flexible(), [0])
    line, paid = batch.exogenous.line_usd_per_mwh, batch.exogenous.response_usd_per_mwh

    def with_prices(*prices: tuple[int, int, int, float], lost: float = 0.0) -> Exogenous:
        """Prices above lines by step, line and site."""
        usd, response = np.zeros_like(line), np.zeros_like(paid)
        for t, slot, k, price in prices:
            usd[0, t, slot, k] = price
        response[0, 7, 1, 0] = lost
        return batch.exogenous.replace(line_usd_per_mwh=usd, response_usd_per_mwh=response)

    cases = [
        (with_prices((3, 0, 0, 100.0)), 100.0),
        (with_prices((3, 0, 0, 100.0), (7, 1, 0, 50.0)), 150.0),
        (with_prices((3, 0, 0, 100.0), (7, 1, 0, 50.0), lost=30.0), 180.0),
        (with_prices((3, 0, 0, 100.0), (7, 0, 1, 70.0)), 100.0),
    ]
    shed, short = last_resort_prices(batch.params, with_prices())
    first = last_resort_prices(batch.params, cases[0][0])
    for exo, usd in cases:
        found = last_resort_prices(batch.params, exo)
        assert found[0] - shed == pytest.approx((first[0] - shed) * usd / 100.0)
        assert found[1] - short == pytest.approx((first[1] - short) * usd / 100.0)
    # A MWh that is shed is dearer by more than what it saves.
    assert first[0] - shed > 100.0 and first[1] > short


def test_work_in_power_modes_takes_the_power_of_its_segment() -> None:
    """North 0.25 kW, 0.95 at speed 0.9, 1.15: slopes 0.778 and 2; south 0.961 at 0.8, 1.05 at 0.9: 0.889 to 1."""
    batch = make_batch(flexible(), [0])
    pue = batch.exogenous.pue[0]
    least, most, freed = facility_mwh_per_gpuh(batch.params, batch.exogenous)
    north, south = (0.95 - 0.25) / 0.9, (0.961 - 0.25) / 0.8 / 1.5  # the south has a speed of 1.5
    assert least[0] == pytest.approx(min(pue[:, 0].min() * north, pue[:, 1].min() * south) / 1000.0)
    assert most[0] == pytest.approx(max(pue[:, 0].max() * 2.0, pue[:, 1].max() * 1.0 / 1.5) / 1000.0)
    # An accelerator more that a job leaves idle takes the segment's slope off the others.
    assert freed[0] == pytest.approx(max(pue[:, 0].max() * 2.0, pue[:, 1].max() * 1.0) / 1000.0)
