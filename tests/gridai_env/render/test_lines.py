"""Lines and power modes in a frame: what is written is what the records hold, and calls show once they are known."""

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.render import Renderer
from gridai_env.render import style as look
from gridai_env.render.line_bars import call_words
from gridai_env.render.line_numbers import LineNumbers
from gridai_env.render.moment import look as look_at
from gridai_env.scenario.load import load_scenario, parse_scenario
from gridai_env.world import physics
from tests.gridai_env.render.test_render import (
    Moment,
    check_cards_keep_apart,
    check_texts_keep_apart,
    play,
    texts,
)


def called_steps(instance: Instance) -> np.ndarray:
    return np.flatnonzero(instance.knowledge.call_depth[:, 0] > 0.0)


@pytest.fixture(scope="module")
def event() -> tuple[Instance, list[Moment]]:
    """Demand response, and every moment up to the end of the first event."""
    instance = make_instance("demand_response", seed=0)
    last = int(called_steps(instance)[0]) + 11
    return instance, [m for m, _ in zip(play(instance), range(last + 1), strict=False)]


def response(instance: Instance, at: Moment) -> LineNumbers:
    """The line of demand response at a moment."""
    return next(line for line in look_at(instance, *at).lines if line.rule.kind == "demand_response")


def test_the_line_is_that_of_the_step_shown(event: tuple[Instance, list[Moment]]) -> None:
    """Also inside an event, where the limit hangs on the state before the step and only that after it is at hand."""
    instance, moments = event
    checked = 0
    for before, after in pairwise(moments):
        t, flows = before[0], after[2]
        exo = instance.exogenous.map(lambda x, t=t: x[t])
        line = response(instance, after)
        at = line.rule.slot, line.rule.site
        assert line.limit_mw == pytest.approx(physics.line_mw(before[1], exo)[at], rel=1e-12)
        assert flows is not None and line.excess_mw == flows.line_excess_mw[at]
        assert line.is_called == bool(instance.knowledge.call_depth[t, line.rule.call] > 0.0)
        if line.is_called:
            checked += exo.baseline_share[at] > 0.0
            assert line.baseline_mw - line.limit_mw == pytest.approx(15.0)
    assert checked == 10
    assert np.isnan(response(instance, moments[5]).baseline_mw)
    assert response(instance, moments[0]).limit_mw == pytest.approx(60.0)


def test_an_event_is_written(event: tuple[Instance, list[Moment]]) -> None:
    instance, moments = event
    renderer, first = Renderer(instance.compiled), int(called_steps(instance)[0])
    renderer.frame(instance, *moments[first + 2])
    line, written = response(instance, moments[first + 2]), texts(renderer)
    assert line.excess_mw > 1.0
    limit = look.compact_number(line.limit_mw)
    for text in (
        f"{look.compact_number(line.import_mw)} of {limit} MW",
        f"{look.compact_number(line.excess_mw)} MW above",
        f"baseline {look.compact_number(line.baseline_mw)} less 15.0 MW",
        "called, 4 h to go",
        f"called: {limit} MW",
        "contracted clean power",
        "line excess",
        "dr energy",
        "dr capacity",
    ):
        assert text in written, text
    assert any(text.endswith("(shaded: called, as far as known)") for text in written)
    check_texts_keep_apart(renderer)


def test_calls_show_once_they_are_announced(event: tuple[Instance, list[Moment]]) -> None:
    """Half an hour ahead: what is not announced yet changes no pixel, in the state of calls as in its words."""
    instance, moments = event
    first = int(called_steps(instance)[0])
    assert instance.knowledge.call_known_from[first, 0] == first - 1

    def words(t: int) -> str:
        return call_words(response(instance, moments[t]))[0]

    assert words(first - 1) == "not called"
    assert words(first) == "call begins now"
    assert words(first + 1) == "called, 4.5 h to go"
    assert words(first + 10) == "called, ends now"
    assert words(first + 11) == "not called"

    nothing = np.zeros_like(instance.knowledge.call_depth)
    uncalled = replace(instance, knowledge=replace(instance.knowledge, call_depth=nothing))
    renderer = Renderer(instance.compiled)
    at = moments[first - 1]
    np.testing.assert_array_equal(renderer.frame(uncalled, *at), renderer.frame(instance, *at))
    at = moments[first]
    assert (renderer.frame(uncalled, *at) != renderer.frame(instance, *at)).any()


def test_a_call_hours_ahead_is_counted_down() -> None:
    """And the step that is shown is over: hours count from its end."""
    base = load_scenario("demand_response").model_dump(mode="json")
    base["sites"][0]["lines"][0]["calls"] |= {"notice_h": 6.0, "probability": 1.0}
    instance = make_instance(parse_scenario(base, "test"), seed=0)
    first = int(called_steps(instance)[0])
    moments = [m for m, _ in zip(play(instance), range(first), strict=False)]
    assert call_words(response(instance, moments[first - 11]))[0] == "call in 5.5 h"
    assert call_words(response(instance, moments[first - 1]))[0] == "call in 0.5 h"
    assert call_words(response(instance, moments[first - 12]))[0] == "not called"


def test_a_call_may_last_to_the_end(event: tuple[Instance, list[Moment]]) -> None:
    instance, moments = event
    always = np.ones_like(instance.knowledge.call_depth)
    known = np.zeros_like(instance.knowledge.call_known_from)
    calls = replace(instance.knowledge, call_depth=always, call_known_from=known)
    called = replace(instance, knowledge=calls)
    assert call_words(response(called, moments[0]))[0] == "called, 168 h to go"
    assert call_words(response(called, moments[2]))[0] == "called, 167 h to go"


def test_a_hard_connection_shows_its_limit_and_what_modes_save() -> None:
    instance = make_instance("flexible_campus", seed=0)
    ends = called_steps(instance) + 1
    at = next(m for m in play(instance) if m[0] in ends and m[2] is not None and m[2].saving_mw[0] > 0.1)
    t, _, flows, *_ = at
    view = look_at(instance, *at)
    line = view.lines[0]
    assert line.rule.spec.hard and line.is_called and line.limit_mw == pytest.approx(40.0)
    assert flows is not None
    np.testing.assert_allclose(view.sites.saved_mw, instance.exogenous.pue[t - 1] * flows.saving_mw)
    renderer = Renderer(instance.compiled)
    renderer.frame(instance, *at)
    written = texts(renderer)
    assert "saved" in written
    assert look.compact_number(view.sites.saved_mw[0]) in written
    assert f"called: {look.compact_number(line.limit_mw)} MW" in written


def test_many_lines_with_long_names_stay_readable() -> None:
    """Two lines at each of four sites: what finds no room is counted, and no text touches another."""
    base: dict[str, Any] = load_scenario("four_markets").model_dump(mode="json")
    calls = {"per_week": 5, "probability": 1.0, "start_h": [0, 23], "duration_h": [3, 3]}
    for k, site in enumerate(base["sites"]):
        site["lines"] = [
            {"name": f"a line with a long name {k}", "kind": "tier", "mw": 1.0, "price_usd_per_mwh": 9.0},
            {"name": "non-firm", "kind": "connection", "mw": 2.0, "price_usd_per_mwh": 5.0, "calls": calls},
        ]
        site |= {"power_modes": [{"name": "H100 decode"}], "idle_kw_per_gpu": 0.25, "busy_kw_per_gpu": 0.9}
    instance = make_instance(parse_scenario(base | {"name": "many lines"}, "test"), seed=0)
    renderer = Renderer(instance.compiled)
    t = int(called_steps(instance)[0]) + 1
    at = next(m for m in play(instance) if m[0] == t)
    renderer.frame(instance, *at)
    written = texts(renderer)
    assert "lines: import against its limit (3 more not shown)" in written
    assert [line.may_be_called for line in look_at(instance, *at).lines] == [True] * 4 + [False] * 4
    assert "earnings and costs so far, USD" in written
    check_texts_keep_apart(renderer)
    check_cards_keep_apart(renderer)


def test_without_lines_nothing_is_said_of_them() -> None:
    instance = make_instance("four_markets", seed=0)
    renderer = Renderer(instance.compiled)
    renderer.frame(instance, *next(m for m in play(instance) if m[0] == 3))
    assert not [text for text in texts(renderer) if re.search("line|called|saved", text)]
