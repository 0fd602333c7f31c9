"""Events: how often and when they strike, what they do and what is foreseen."""

from dataclasses import replace

import numpy as np
import pytest

from gridai_env.episodes.events import EventTable, draw_events
from gridai_env.episodes.starts import streams
from tests.support.small_scenario import small


def test_events_strike_with_their_probability_length_and_range() -> None:
    event = {
        "name": "e",
        "kind": "import_limit",
        "probability": 0.3,
        "earliest_h": 5.0,
        "latest_h": 8.0,
        "duration_h": 3.0,
    }
    active = draw_events(small(events=[event]), streams(range(3000), "events")).active[..., 0]
    struck = active.any(1)
    assert struck.mean() == pytest.approx(0.3, abs=0.03)
    assert (active[struck].sum(1) == 3).all()
    starts = active[struck].argmax(1)
    assert sorted(set(starts.tolist())) == [5, 6, 7, 8]
    assert np.bincount(starts)[5:] / len(starts) == pytest.approx(0.25, abs=0.05)


def test_events_without_an_end_of_range_start_within_the_episode() -> None:
    event = {"name": "e", "kind": "price", "duration_h": 3.0, "factor": 2.0}
    active = draw_events(small(events=[event]), streams(range(500), "events")).active
    assert active.any(1).all()


def test_factors_multiply_and_shocks_follow_each_other() -> None:
    events = [
        {"name": "a", "kind": "available_gpus", "factor": 0.5},
        {"name": "b", "kind": "available_gpus", "factor": 0.4, "sites": ["south"]},
        {"name": "c", "kind": "price", "factor": 2.0, "sites": ["north"]},
        {"name": "d", "kind": "price", "add_usd_per_mwh": 7.0},
    ]
    table = EventTable(np.ones((1, 1, 4), dtype=bool), small(events=events).events)
    assert table.limit_factor("available_gpus")[0, 0] == pytest.approx([0.5, 0.2])
    assert table.limit_factor("import_limit")[0, 0].tolist() == [1, 1]
    assert table.shocked_usd_per_mwh(np.array([[[10.0, -3.0]]]))[0, 0].tolist() == [27, 4]
    none = replace(table, active=~table.active)
    assert none.shocked_usd_per_mwh(np.array([[[10.0, -3.0]]]))[0, 0].tolist() == [10, -3]


def test_only_announced_or_running_events_are_foreseen() -> None:
    events = [
        {"name": "told", "kind": "price", "factor": 2.0},
        {"name": "sudden", "kind": "price", "factor": 3.0, "announced": False},
    ]
    active = np.zeros((1, 6, 2), dtype=bool)
    active[0, 2:5] = True
    table = EventTable(active, small(events=events).events)
    ahead = table.at_leads([1, 9], "day_ahead").active[0]
    assert ahead[:, 0, 0].tolist() == [False, True, True, True, False, False]
    assert ahead[:, 0, 1].tolist() == [False, False, True, True, False, False]
    assert not ahead[:, 1].any()
    perfect = table.at_leads([1], "perfect").active[0, :, 0]
    assert perfect[:, 0].tolist() == perfect[:, 1].tolist() == [False, True, True, True, False, False]
    now = table.at_leads([1], "persistence").active[0, :, 0]
    assert now[:, 0].tolist() == now[:, 1].tolist() == [False, False, True, True, True, False]


def test_no_events() -> None:
    table = draw_events(small(events=[]), streams([0, 1], "events"))
    assert table.active.shape == (2, 48, 0)
    assert table.limit_factor("import_limit").shape == (2, 48, 2)
    assert table.at_leads([1, 2], "day_ahead").active.shape == (2, 48, 2, 0)
