"""Calls that may still come: as often as they really do, where the rule allows them, and nothing else of the truth."""

from dataclasses import replace

import numpy as np

from gridai_env.episodes.call_futures import unknown_calls
from gridai_env.episodes.calls import CallCalendar
from gridai_env.episodes.instance import Instance, make_batch
from tests.support.small_scenario import CALLS, flexible

T, FUTURES = 30, 16


def drawn(instance: Instance, t: int = T, count: int = FUTURES) -> np.ndarray:
    prices = np.full_like(instance.exogenous.buy_usd_per_mwh, 50.0)
    return unknown_calls(instance, t, prices, count, np.random.default_rng(instance.seed))


def test_calls_come_as_often_as_they_really_do() -> None:
    """By line, over 60 episodes, in the day from the notice on; those drawn know what was called before."""
    compiled = flexible()
    real, said = [], []
    for instance in make_batch(compiled, range(60)):
        hours, known = slice(T + 3, T + 27), instance.knowledge
        real.append(((known.call_depth > 0) & (known.call_known_from > T))[hours].mean(0))
        said.append((drawn(instance)[:, hours] > 0).mean((0, 1)))
    off = (np.array(real) - np.array(said)).mean(0)
    spread = np.array(real).std(0) / np.sqrt(60)
    assert (np.abs(off) < 3.0 * spread).all() and (np.mean(said, axis=0) > 0.005).all()


def test_calls_keep_to_the_rule_and_clear_of_known_ones() -> None:
    seen = np.zeros(3, dtype=bool)
    for instance in make_batch(flexible(), range(6)):
        found, calendar = drawn(instance), CallCalendar.of(instance.compiled, np.array([instance.start_utc]))
        known = instance.knowledge.call_known_from <= T
        for q, rule in enumerate(instance.compiled.lines.calls):
            on = found[..., q] > 0
            assert not on[:, : T + rule.notice + 1].any()  # it would be known
            seen[q] |= on.any()
            begins = on & ~np.pad(on, ((0, 0), (1, 0)))[:, :-1]
            first, count = calendar.first[0, q], calendar.count[0, q]
            may = np.concatenate([np.arange(a, a + n) for a, n in zip(first, count, strict=True)])
            assert np.isin(np.flatnonzero(begins.any(0)), may).all()
            days = calendar.day[0, :, q]
            called = days[known[:, q] & (instance.knowledge.call_depth[:, q] > 0)]
            assert not np.isin(days[begins.any(0)], called).any()
    assert seen.all() and CALLS["notice_h"] == 2.0


def test_calls_not_known_yet_do_not_matter() -> None:
    instance = make_batch(flexible(), [3])[0]
    known = instance.knowledge
    hidden = known.call_known_from > T
    assert (hidden & (known.call_depth > 0)).any()
    other = replace(instance, knowledge=known.replace(call_depth=np.where(hidden, 0.0, known.call_depth)))
    assert np.array_equal(drawn(instance), drawn(other))
