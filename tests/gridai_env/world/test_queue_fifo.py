"""One bound on the backlog is first-in-first-out with deadlines: against an explicit queue with ages."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.demand import queue_limits_gpuh
from gridai_env.episodes.instance import stack
from tests.support.strategies import random_actions, random_instance
from tests.support.tiny import action_of, tiny


class Fifo:
    """Work in order of arrival; what is older than ``wait`` steps when a step ends is overdue."""

    def __init__(self, wait: int, steps: int) -> None:
        self.wait, self.steps = wait, steps
        self.items: deque[list[float]] = deque()  # [step of arrival, amount], oldest first

    def arrive(self, t: int, amount: float) -> None:
        self.items.append([t, amount])

    def take(self, amount: float) -> None:
        """Serve or drop the oldest work first."""
        while amount > 0 and self.items:
            item = self.items[0]
            part = min(item[1], amount)
            item[1] -= part
            amount -= part
            if item[1] <= 0:
                self.items.popleft()

    def total(self) -> float:
        return sum(item[1] for item in self.items)

    def overdue(self, t: int) -> float:
        """Work that may not be left when step ``t`` ends: it has waited D steps, or the horizon ends."""
        last = t == self.steps - 1
        return sum(amount for arrived, amount in self.items if last or t - arrived >= self.wait)


whole = st.integers(min_value=0, max_value=5)


@given(st.lists(st.tuples(whole, st.integers(0, 12)), min_size=1, max_size=9), st.integers(0, 5))
def test_the_bound_holds_exactly_when_nothing_is_overdue(steps: list[tuple[int, int]], wait: int) -> None:
    """Whole numbers, so that ties are exact: both readings agree in every step, also after a violation."""
    arrivals = np.array([a for a, _ in steps], dtype=float).reshape(-1, 1, 1)
    limits = queue_limits_gpuh(arrivals, np.array([wait]))[:, 0, 0]
    fifo, backlog = Fifo(wait, len(steps)), 0.0
    for t, (arrived, gone) in enumerate(steps):
        fifo.arrive(t, arrived)
        on_hand = backlog + arrived
        # Before anything is served: what is due now, by the bound and by the ages.
        assert max(0.0, on_hand - limits[t]) == fifo.overdue(t)
        served = min(float(gone), on_hand)
        fifo.take(served)
        backlog = on_hand - served
        assert backlog == fifo.total()
        assert (backlog <= limits[t]) == (fifo.overdue(t) == 0.0)
        if backlog > limits[t]:  # a limit once broken stays broken for the oldest work: stop, as a run would
            break


@given(
    st.lists(st.tuples(whole, st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_the_simulator_never_leaves_overdue_work(
    steps: list[tuple[int, float, float]], wait: int, gpus: int
) -> None:
    """Random holding and refusing under scarce capacity: the ages of what is left are always allowed."""
    arrivals = np.array([float(a) for a, _, _ in steps]).reshape(-1, 1, 1)
    world = tiny(
        steps=len(steps),
        sites=({"gpus": float(gpus)},),
        classes=({"wait_h": float(wait)},),
        exogenous={"arrivals_gpuh": arrivals, "buy_usd_per_mwh": 50.0},
    )
    simulator, fifo = Simulator(stack([world])), Fifo(wait, len(steps))
    for t, (_, hold, refuse) in enumerate(steps):
        fifo.arrive(t, arrivals[t, 0, 0])
        action = action_of(world, routing=np.array([[[1.0, 2 * hold - 1, 2 * refuse - 1]]]))
        flows, _ = simulator.step(action[None])
        fifo.take(float(flows.served_gpuh.sum() + flows.dropped_gpuh.sum()))
        assert fifo.overdue(t) == pytest.approx(0.0, abs=1e-9)
        assert float(simulator.state.backlog_gpuh[0, 0, 0]) == pytest.approx(fifo.total(), abs=1e-9)


@given(st.lists(whole, min_size=2, max_size=8), st.integers(1, 4))
def test_holding_all_serves_exactly_what_is_due(arrived: list[int], wait: int) -> None:
    arrivals = np.array(arrived, dtype=float).reshape(-1, 1, 1)
    world = tiny(
        steps=len(arrived),
        classes=({"wait_h": float(wait)},),
        exogenous={"arrivals_gpuh": arrivals, "buy_usd_per_mwh": 50.0},
    )
    simulator, fifo = Simulator(stack([world])), Fifo(wait, len(arrived))
    for t, amount in enumerate(arrived):
        fifo.arrive(t, float(amount))
        due = fifo.overdue(t)
        action = action_of(world, routing=np.array([[[1.0, 1.0, -1.0]]]))
        flows, _ = simulator.step(action[None])
        assert flows.served_gpuh.sum() == pytest.approx(due, abs=1e-12)
        assert flows.dropped_gpuh.sum() == 0.0
        fifo.take(due)


def test_random_worlds_keep_the_ages_of_every_region_and_row() -> None:
    waited = 0.0
    for seed in range(7000, 7080):
        instance = random_instance(seed)
        wait, shape = instance.compiled.row_wait_steps, instance.compiled.shape
        simulator = Simulator(stack([instance]))
        places = [(c, w) for c in range(shape.regions) for w in range(shape.rows)]
        queues = {place: Fifo(int(wait[place[1]]), instance.steps) for place in places}
        rng = np.random.default_rng(seed)
        arrivals = instance.exogenous.arrivals_gpuh
        for t, action in enumerate(random_actions(rng, instance.steps, 1, simulator.layout.size)):
            flows, _ = simulator.step(action)
            for c, w in places:
                queues[c, w].arrive(t, float(arrivals[t, c, w]))
                queues[c, w].take(float(flows.served_gpuh[0, c, w].sum() + flows.dropped_gpuh[0, c, w]))
                small = 1e-9 * max(float(arrivals[:, c, w].sum()), 1.0)
                assert queues[c, w].overdue(t) <= small, (seed, t, c, w)
                waited += queues[c, w].total()
    assert waited > 0.0
