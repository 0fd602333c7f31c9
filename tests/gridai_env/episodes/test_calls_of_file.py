"""Calls that stand in a trace file: the steps of the file, its notice, and what is refused."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gridai_env import GridAIEnv, load_instance
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.call_futures import unknown_calls
from gridai_env.episodes.calls_of_file import calls_of_file
from gridai_env.episodes.instance import Instance, make_batch, make_instance
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.errors import ScenarioError
from gridai_env.scenario.load import load_scenario
from gridai_env.traces import TraceError, read_table
from tests.support.called_world import CONNECTION, FIRST, RESPONSE, called, hours, scenario, write_file

START = "2024-03-30T00:00"
EVENING = hours("2024-03-30T17:00", "2024-03-30T20:00")
MORNING = hours("2024-03-31T05:00", "2024-03-31T07:00")
CALLS = dict.fromkeys(EVENING + MORNING, 1)


def called_stamps(instance: Instance, line: int = 0) -> dict[str, float]:
    """Depth by stamp of the called steps of an episode."""
    depth = instance.knowledge.call_depth[:, line]
    step = np.timedelta64(round(60 * instance.compiled.shape.dt_h), "m")
    return {str(instance.start_utc + t * step): float(depth[t]) for t in np.flatnonzero(depth)}


# The steps of the file ----------------------------------------------------------------------------------------------


def test_episodes_have_exactly_the_called_hours_of_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    stamps = [str(FIRST + np.timedelta64(h, "h")) for h in range(7 * 24)]
    calls = {stamp: 1 for stamp in stamps if rng.random() < 0.3}
    compiled = called(tmp_path, write_file(tmp_path / "f.csv", calls))
    starts = [str(FIRST + np.timedelta64(h, "h")) for h in (24, 31, 77, 5 * 24)]
    for one in make_batch(compiled, range(len(starts)), start=starts):
        own = [str(one.start_utc + np.timedelta64(h, "h")) for h in range(48)]
        assert called_stamps(one) == {stamp: 1.0 for stamp in own if stamp in calls}
        line, most = one.exogenous.line_mw[:, 0, 1], compiled.import_limit_mw[1]
        assert line.tolist() == [0.5 if stamp in calls else most for stamp in own]
    # Seeds draw starts, not calls.
    for one in make_batch(compiled, range(6)):
        own = [str(one.start_utc + np.timedelta64(h, "h")) for h in range(48)]
        assert called_stamps(one).keys() == calls.keys() & set(own)


def test_local_evenings_stay_local_when_clocks_change(tmp_path: Path) -> None:
    """Stamps of the file in Berlin time, 18 to 21 o'clock on three days around the change to summer time."""
    berlin = ZoneInfo("Europe/Berlin")
    evenings = [datetime(2024, 3, day, hour, tzinfo=berlin) for day in (30, 31) for hour in (18, 19, 20)]
    in_utc = [f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M}" for moment in evenings]
    assert [stamp[11:13] for stamp in in_utc] == ["17", "18", "19", "16", "17", "18"]
    path = write_file(tmp_path / "f.csv", dict.fromkeys(in_utc, 1))
    lines = path.read_text().splitlines()
    local = [lines[0]]
    for line in lines[1:]:
        stamp, _, rest = line.partition(",")
        local.append(f"{datetime.fromisoformat(stamp).astimezone(berlin).isoformat()},{rest}")
    path.write_text("\n".join(local))
    compiled = called(tmp_path, path)
    (one,) = make_batch(compiled, [0], start="2024-03-30T00:00")
    at = [
        datetime.fromisoformat(stamp).replace(tzinfo=UTC).astimezone(berlin) for stamp in called_stamps(one)
    ]
    assert [(moment.day, moment.hour) for moment in at] == [(d, h) for d in (30, 31) for h in (18, 19, 20)]


def test_quarters_are_averaged_over_hours_and_played_as_they_are(tmp_path: Path) -> None:
    quarters = hours("2024-03-30T12:45", "2024-03-30T14:30", 15)
    path = write_file(tmp_path / "f.csv", dict.fromkeys(quarters, 1), step_min=15)
    coarse, fine = (called(tmp_path, path, dt_h=dt_h) for dt_h in (1.0, 0.25))
    (one,), (four,) = (make_batch(compiled, [0], start=START) for compiled in (coarse, fine))
    assert called_stamps(one) == {
        "2024-03-30T12:00": 0.25, "2024-03-30T13:00": 1.0, "2024-03-30T14:00": 0.5
    }  # fmt: skip
    assert called_stamps(four) == dict.fromkeys(quarters, 1.0)
    # The limit of an hour is the mean of its quarters.
    mean = four.exogenous.line_mw[:, 0, 1].reshape(-1, 4).mean(1)
    assert one.exogenous.line_mw[:, 0, 1] == pytest.approx(mean, rel=1e-12)
    assert "rows of 15 min, averaged to 60 min: 1 calls" in one.provenance["calls"]


def test_hours_are_held_over_quarters_and_ramps_are_kept(tmp_path: Path) -> None:
    ramp = {"2024-03-30T12:00": 0.5, "2024-03-30T13:00": 1}
    compiled = called(tmp_path, write_file(tmp_path / "f.csv", ramp), dt_h=0.25)
    (one,) = make_batch(compiled, [0], start=START)
    depth = one.knowledge.call_depth[:, 0]
    assert depth[48:56].tolist() == [0.5] * 4 + [1.0] * 4 and depth.sum() == 6.0


# What is known, and when --------------------------------------------------------------------------------------------


def known_stamps(instance: Instance) -> dict[str, str]:
    """By stamp of each called step: that of the step from which it is known."""
    step = np.timedelta64(round(60 * instance.compiled.shape.dt_h), "m")
    known = instance.knowledge.call_known_from[instance.knowledge.call_depth[:, 0] > 0.0, 0]
    stamps = [str(instance.start_utc + first * step) for first in known]
    return dict(zip(called_stamps(instance), stamps, strict=True))


def test_notice_of_the_file_of_the_line_or_none(tmp_path: Path) -> None:
    own = {EVENING[0]: 4, MORNING[0]: 0, EVENING[1]: 9}  # the last is no begin
    (one,) = make_batch(called(tmp_path, write_file(tmp_path / "f.csv", CALLS, own)), [0], start=START)
    wanted = dict.fromkeys(EVENING, "2024-03-30T13:00") | dict.fromkeys(MORNING, MORNING[0])
    assert known_stamps(one) == wanted
    assert "notice: column notice_h_south" in one.provenance["calls"]
    line = CONNECTION | {"calls": {"source": "traces", "notice_h": 2.0}}
    for given, ahead in ((CONNECTION, 0), (line, 2)):
        path = write_file(tmp_path / "f.csv", CALLS)
        (one,) = make_batch(called(tmp_path, path, given), [0], start=START)
        first = {
            stamp: str(np.datetime64(call[0], "m") - np.timedelta64(ahead, "h"))
            for call in (EVENING, MORNING)
            for stamp in call
        }
        assert known_stamps(one) == first


def test_a_call_that_began_before_the_episode_is_known_at_once(tmp_path: Path) -> None:
    path = write_file(tmp_path / "f.csv", CALLS, {EVENING[0]: 0, MORNING[0]: 24})
    (one,) = make_batch(called(tmp_path, path), [0], start=EVENING[1])
    assert set(known_stamps(one).values()) == {EVENING[1]}


def test_an_announcement_inside_a_step_shows_from_the_next_step_on(tmp_path: Path) -> None:
    quarters = hours("2024-03-30T12:45", "2024-03-30T14:00", 15)
    path = write_file(tmp_path / "f.csv", dict.fromkeys(quarters, 1), {quarters[0]: 3}, step_min=15)
    (one,) = make_batch(called(tmp_path, path), [0], start=START)
    # Announced at 9:45.
    assert known_stamps(one) == dict.fromkeys(("2024-03-30T12:00", "2024-03-30T13:00"), "2024-03-30T10:00")
    # Two calls touch the hour of 12: it shows when both are announced, at the latest when it begins.
    both = {"2024-03-30T11:30": 1, "2024-03-30T11:45": 1, "2024-03-30T12:00": 1} | dict.fromkeys(quarters, 1)
    for later, seen, rest in ((1, 12, 12), (0, 12, 13), (4, 9, 9)):
        notice = {"2024-03-30T11:30": 5, quarters[0]: later}
        path = write_file(tmp_path / "f.csv", both, notice, step_min=15)
        (one,) = make_batch(called(tmp_path, path), [0], start=START)
        known = [f"2024-03-30T{hour:02d}:00" for hour in (7, seen, rest)]
        assert list(known_stamps(one).values()) == known


def shown(compiled: Compiled, until: int) -> list[Any]:
    """Observations up to step ``until`` and what planners foresee there, under the same actions."""
    instance = make_batch(compiled, [5], start=START)[0]
    env = GridAIEnv(compiled.scenario)
    seen = [env.reset(options={"instance": instance})[0]]
    rng = np.random.default_rng(0)
    for _ in range(until):
        seen.append(env.step(rng.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32))[0])
    ahead = [exogenous_forecast(instance, t, instance.steps - t).line_mw for t in range(until + 1)]
    prices = instance.exogenous.buy_usd_per_mwh
    maybe = [unknown_calls(instance, t, prices, 3, np.random.default_rng(0)) for t in range(until + 1)]
    return [seen, ahead, maybe]


def differing(seen: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Parts of two observations that are not the same."""
    return {name for name in seen.keys() | other.keys() if not np.array_equal(seen[name], other[name])}


@pytest.mark.parametrize("notice_h", [0, 5])
def test_nothing_shows_before_the_notice(tmp_path: Path, notice_h: int) -> None:
    """The morning's call of a file comes or does not: all that is seen up to the notice is the same."""
    comes = called(tmp_path, write_file(tmp_path / "a.csv", CALLS, {EVENING[0]: 1, MORNING[0]: notice_h}))
    only = dict.fromkeys(EVENING, 1)
    comes_not = called(tmp_path, write_file(tmp_path / "b.csv", only, {EVENING[0]: 1}))
    begins = 29  # hours from the start to the morning
    shows = begins - notice_h
    (seen, ahead, maybe), (other, other_ahead, other_maybe) = (shown(c, shows) for c in (comes, comes_not))
    for t in range(shows):
        assert not differing(seen[t], other[t]), t
        assert np.array_equal(ahead[t], other_ahead[t]), t
        assert np.array_equal(maybe[t], other_maybe[t]), t
    assert not np.array_equal(ahead[shows], other_ahead[shows])
    assert "forecast_call" in differing(seen[shows], other[shows])
    # Nobody knows a rule for calls of a file: futures have none.
    assert not np.array(maybe).any()


# Contracts ----------------------------------------------------------------------------------------------------------


def test_days_of_events_leave_the_baseline(tmp_path: Path) -> None:
    events = dict.fromkeys([*hours("2024-03-30T12:00", "2024-03-30T14:00"), "2024-04-01T12:00"], 1)
    path = write_file(tmp_path / "f.csv", events)
    (one,) = make_batch(called(tmp_path, path, RESPONSE, horizon_h=96.0), [0], start="2024-03-29T23:00")
    # In Berlin 30 March has steps 0 to 23, 31 March 23 h up to step 46, 1 April those up to 70.  The step of the day
    # before counts where that day had no event.
    counts = np.repeat([False, False, True, False, True], [24, 24, 23, 24, 1])
    assert np.array_equal(one.exogenous.baseline_counts[:, 1], counts)
    committed = np.flatnonzero(one.exogenous.committed_mw[:, 0, 1])
    assert [str(one.start_utc + np.timedelta64(int(t), "h")) for t in committed] == list(events)


def test_a_gated_generator_runs_while_called_alone(tmp_path: Path) -> None:
    source = yaml_of(scenario(tmp_path, write_file(tmp_path / "f.csv", CALLS)))
    source["sites"][1]["generator"] = {"capacity_mw": 0.5, "ramp_mw_per_h": 1.0, "only_while_called": True}
    one = make_instance(source, 0, start=START)
    assert np.flatnonzero(one.exogenous.generator_open[:, 1]).tolist() == [17, 18, 19, 29, 30]


def yaml_of(path: Path) -> dict[str, Any]:
    return load_scenario(path).model_dump()


def test_drawn_calls_beside_those_of_the_file_are_as_without_them(tmp_path: Path) -> None:
    drawn = CONNECTION | {"name": "drawn", "calls": {"per_week": 7, "start_h": [10.0, 12.0]}}
    path = write_file(tmp_path / "f.csv", CALLS)
    both = make_batch(called(tmp_path, path, drawn, CONNECTION), range(5), start=START)
    alone = make_batch(called(tmp_path, path, drawn), range(5), start=START)
    for one, other in zip(both, alone, strict=True):
        assert called_stamps(one, 1).keys() == CALLS.keys()
        assert called_stamps(one, 0) == called_stamps(other, 0) != {}
    assert "not used: call_south" in alone.provenance[0]["SOUTH"] and "calls" not in alone.provenance[0]
    assert "not used" not in both.provenance[0]["SOUTH"]


def test_instances_are_saved_pickled_and_replayed(tmp_path: Path) -> None:
    compiled = called(tmp_path, write_file(tmp_path / "f.csv", CALLS, {EVENING[0]: 3, MORNING[0]: 1}))
    one = make_batch(compiled, [2], start=START)[0]
    moved = {stamp.replace("T17", "T16"): 1 for stamp in CALLS}
    other = called(tmp_path, write_file(tmp_path / "g.csv", moved), horizon_h=48.0)
    assert make_batch(other, [2], start=START)[0].hash != one.hash
    saved = one.save(tmp_path / "one.npz")
    (tmp_path / "f.csv").unlink()
    for again in (load_instance(saved), pickle.loads(pickle.dumps(one))):
        assert again.hash == one.hash and again.provenance == one.provenance
        env = GridAIEnv(again.compiled.scenario)
        env.reset(options={"instance": again})
        rewards = [env.step(np.zeros(env.action_space.shape, dtype=np.float32))[1] for _ in range(48)]
        assert np.isfinite(rewards).all()


def test_a_row_of_a_batch_is_the_environment_alone(tmp_path: Path) -> None:
    compiled = called(tmp_path, write_file(tmp_path / "f.csv", CALLS, {EVENING[0]: 3, MORNING[0]: 1}))
    many, alone = GridAIVectorEnv(3, compiled.scenario), GridAIEnv(compiled.scenario)
    seen, own = many.reset(seed=7)[0], alone.reset(seed=8)[0]
    assert not differing({name: x[1] for name, x in seen.items()}, own)
    for _ in range(30):
        action = np.random.default_rng(0).uniform(-1, 1, many.action_space.shape).astype(np.float32)
        seen, reward, *_ = many.step(action)
        own, paid, *_ = alone.step(action[1])
        assert not differing({name: x[1] for name, x in seen.items()}, own) and reward[1] == paid


def test_a_parquet_file_and_a_shorter_horizon(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    csv, pq = pytest.importorskip("pyarrow.csv"), pytest.importorskip("pyarrow.parquet")
    path = write_file(tmp_path / "f.csv", CALLS)
    found = csv.read_csv(path)
    stamps = found["utc"].cast(pa.timestamp("us", "UTC"))
    pq.write_table(found.set_column(0, "utc", stamps), tmp_path / "f.parquet")
    for file in (path, tmp_path / "f.parquet"):
        source = scenario(tmp_path, file, CONNECTION | {"calls": {"source": "traces", "notice_h": 1.0}})
        one = make_instance(source, 0, start="2024-03-30T15:00", horizon_h=3.0)
        assert called_stamps(one).keys() == set(EVENING[:1])


def test_gaps_are_filled_where_both_sides_agree(tmp_path: Path) -> None:
    path = write_file(tmp_path / "f.csv", CALLS)
    inside, edge, outside = EVENING[1], MORNING[0], "2024-03-30T03:00"
    lines = path.read_text().splitlines()

    def play(*gone: str) -> Instance:
        kept = [line for line in lines if not any(line.startswith(f"{at}Z,SOUTH") for at in gone)]
        path.write_text("\n".join(kept))
        return make_batch(called(tmp_path, f"{path},fill_gap_h=2"), [0], start=START)[0]

    assert called_stamps(play(inside, outside)).keys() == CALLS.keys()
    with pytest.raises(
        TraceError, match=r"2024-03-31T05:00Z: call_south = nan .*write the share of the interval"
    ):
        play(edge)


def test_starts_are_drawn_where_calls_are_known(tmp_path: Path) -> None:
    path = write_file(tmp_path / "f.csv", CALLS | {"2024-04-01T03:00": ""})
    for one in make_batch(called(tmp_path, path, horizon_h=24.0), range(12)):
        first = one.start_utc - np.timedelta64(24, "h")
        assert not first <= np.datetime64("2024-04-01T03:00") < first + np.timedelta64(48, "h")


def test_the_rows_of_the_zone_of_the_site_count(tmp_path: Path) -> None:
    source = yaml_of(scenario(tmp_path, write_file(tmp_path / "f.csv", CALLS)))
    assert called_stamps(make_instance(source, 0, start=START)).keys() == CALLS.keys()
    source["sites"][1]["zone"] = "NORTH"
    with pytest.raises(TraceError, match=r"zone 'NORTH', .*: call_south = nan"):
        make_instance(source, 0, start=START)


def test_called_hours_of_a_year_are_those_of_the_file(tmp_path: Path) -> None:
    quarters = hours("2024-03-30T12:45", "2024-03-30T14:30", 15)
    path = write_file(tmp_path / "f.csv", dict.fromkeys(quarters, 1), step_min=15)
    for dt_h, found_h in ((0.25, 1.75), (1.0, 3.0)):
        compiled = called(tmp_path, path, dt_h=dt_h)
        of_file = calls_of_file(compiled, read_table(path))
        assert of_file is not None
        assert of_file.hours_a_year(0) == pytest.approx(found_h * 8760.0 / 168.0)


# What is refused ----------------------------------------------------------------------------------------------------

BAD_FILES: list[tuple[dict[str, Any], str]] = [
    (
        {"calls": CALLS | {EVENING[0]: 1.5}},
        r"2024-03-30T17:00Z: call_south = 1.5 \(allowed: 0 to 1, finite\)",
    ),
    (
        {"calls": CALLS | {EVENING[0]: -0.1}},
        r"2024-03-30T17:00Z: call_south = -0.1 \(allowed: 0 to 1, finite\)",
    ),
    ({"calls": dict.fromkeys(EVENING, 100)}, r"call_south = 100 .*; write the share .* as in 3 intervals"),
    ({"calls": CALLS | {EVENING[0]: ""}}, r"2024-03-30T17:00Z: call_south = nan .* 0, 1 or between"),
    ({"calls": CALLS | {EVENING[0]: "yes"}}, r"line \d+, call_south = 'yes': write numbers"),
    ({"calls": {}}, r"zone 'SOUTH': column call_south has no called interval .*: mark the calls in them"),
    ({"calls": {}, "default": ""}, r"column call_south has no called interval"),
    (
        {"calls": None},
        r"no column call_south, but calls.source is traces \(site 'south', line 'non-firm'\); add",
    ),
    (
        {"calls": CALLS, "notice": {EVENING[0]: -1, MORNING[0]: 1}},
        r"2024-03-30T17:00Z: notice_h_south = -1 \(allowed: 0 to 8760, finite\); give the hours of notice",
    ),
    (
        {"calls": CALLS, "notice": {EVENING[0]: 1}},
        r"2024-03-31T05:00Z: notice_h_south = nan .*give the hours of notice of the call that begins there",
    ),
    (
        {"calls": CALLS, "notice": {EVENING[0]: 1.5, MORNING[0]: 1}},
        r"2024-03-30T17:00Z: notice_h_south = 1.5 \(allowed: whole steps of dt_h = 1 h up to 24 h, the last of",
    ),
    (
        {"calls": CALLS, "notice": {EVENING[0]: 25, MORNING[0]: 1}},
        r"notice_h_south = 25 \(allowed: whole steps of dt_h = 1 h up to 24 h, the last of forecast.leads_h\); correct",
    ),
]


@pytest.mark.parametrize(("file", "message"), BAD_FILES)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, file: dict[str, Any], message: str) -> None:
    path = write_file(tmp_path / "f.csv", **file)
    with pytest.raises(TraceError, match=message) as caught:
        make_batch(called(tmp_path, path), [0], start=START)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["call_sout", "notice_h_sout"])
def test_a_column_of_no_site_is_refused(tmp_path: Path, column: str) -> None:
    path = write_file(tmp_path / "f.csv", CALLS, {EVENING[0]: 1, MORNING[0]: 1})
    text = path.read_text()
    own = "call_south" if column.startswith("call") else "notice_h_South"
    lines = text.replace(own, f"{column},{own}").splitlines()
    place = lines[0].split(",").index(column)
    cells = [line.split(",") for line in lines[1:]]
    path.write_text("\n".join([lines[0], *(",".join([*c[:place], "0", *c[place:]]) for c in cells)]))
    right = own.lower()
    with pytest.raises(
        TraceError, match=rf"column {column} is of no site .*did you mean '{right}'\?\); rename"
    ):
        make_batch(called(tmp_path, path), [0], start=START)


def test_notice_of_both_and_parts_of_an_event_are_refused(tmp_path: Path) -> None:
    line = CONNECTION | {"calls": {"source": "traces", "notice_h": 2.0}}
    path = write_file(tmp_path / "f.csv", CALLS, {EVENING[0]: 1, MORNING[0]: 1})
    with pytest.raises(
        TraceError, match=r"column notice_h_south and calls.notice_h = 2 h .* both say the notice"
    ):
        make_batch(called(tmp_path, path, line), [0], start=START)
    quarters = dict.fromkeys(hours("2024-03-30T12:45", "2024-03-30T14:00", 15), 1)
    path = write_file(tmp_path / "f.csv", quarters, step_min=15)
    with pytest.raises(
        TraceError, match=r"2024-03-30T12:00Z: call_south = 0.25 on average .*allowed for demand response"
    ):
        make_batch(called(tmp_path, path, RESPONSE), [0], start=START)
    assert make_batch(called(tmp_path, path, RESPONSE, dt_h=0.25), [0], start=START)


def test_an_episode_beyond_the_file_is_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path / "f.csv", CALLS)
    with pytest.raises(TraceError, match="2024-04-04T00:00Z is outside the file"):
        make_batch(called(tmp_path, path), [0], start="2024-04-03T00:00")


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    (
        {"duration_h": [2.0, 3.0]},
        r"calls.duration_h = \[2.0, 3.0\]: must be left out where source is traces \[h\]",
    ),
    ({"hours_a_year": 60.0}, r"calls.hours_a_year = 60.0: must be left out where source is traces \[h\]"),
    ({"ramp_h": 1.0}, r"calls.ramp_h = 1.0: must be left out"),
    ({"notice_h": 30.0}, r"calls.notice_h = 30.0: must be at most 24, the last of forecast.leads_h"),
    ({"notice_h": 0.5}, r"calls.notice_h = 0.5: must be a whole number of steps of dt_h = 1 h"),
    ({"source": "file"}, r"calls.source = 'file'"),
]


@pytest.mark.parametrize(("calls", "message"), BAD_KEYS)
def test_what_is_wrong_with_the_keys_is_said(tmp_path: Path, calls: dict[str, Any], message: str) -> None:
    path = write_file(tmp_path / "f.csv", CALLS)
    with pytest.raises(ScenarioError, match=message) as caught:
        called(tmp_path, path, CONNECTION | {"calls": {"source": "traces"} | calls})
    assert len(caught.value.problems) == 1


def test_synthetic_traces_hold_no_calls(tmp_path: Path) -> None:
    source = yaml_of(scenario(tmp_path, write_file(tmp_path / "f.csv", CALLS)))
    for site in source["sites"]:
        site["zone"] = "DE-LU"
    with pytest.raises(
        ScenarioError,
        match=r"lines\[0\].calls.source = 'traces': must be drawn .*synthetic traces hold no calls",
    ):
        load_scenario(source, traces="synthetic")
