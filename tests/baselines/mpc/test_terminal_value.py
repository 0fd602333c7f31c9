"""What is left at the end of a window, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.mpc.terminal_value import Ending, ending_costs
from baselines.program.window import make_columns
from tests.support.tiny import BATTERY, tiny


def test_end_values_stand_at_their_columns_with_their_signs() -> None:
    """At 60 USD/MWh: a stored MWh saves 0.5 * (60 - 2), waiting work earns its revenue less its energy."""
    instance = tiny(
        steps=4,
        sites=[{"battery": BATTERY}],
        classes=[{"wait_h": 2.0}],
        jobs=[{"gpus": 100.0, "duration_h": 1.0, "release_h": 0.0, "deadline_h": 4.0, "value_usd": 50.0}],
        exogenous={"buy_usd_per_mwh": 60.0},
    )
    p, window = instance.params, instance.exogenous.map(lambda x: x[:2])
    columns = make_columns(p, instance.compiled.shape, 2)
    costs = ending_costs(p, window, columns, 2, None, Ending())

    work_usd = 1.25 * 1.0 / 1000.0 * 60.0  # PUE, kW above idle, price
    after = columns.state.map(lambda index: index[2])
    assert costs[after.battery_mwh] == pytest.approx(-0.5 * (60.0 - 2.0))
    assert costs[after.backlog_gpuh] == pytest.approx(-(0.5 - work_usd))
    assert costs[after.committed_gpus] == pytest.approx(work_usd)
    assert costs[after.waiting] == pytest.approx(-(50.0 - 100.0 * work_usd))
    before_end = columns.state.map(lambda index: index[1])
    assert np.all(costs[before_end.battery_mwh] == 0.0)
