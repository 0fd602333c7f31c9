"""Demand and jobs from files: the trace's shape times the scenario's level, calculated independently."""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import yaml

from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.demand_shape import demand_shape
from gridai_env.episodes.instance import Instance, load_instance, make_batch, make_instance
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.errors import ScenarioError
from gridai_env.scenario.load import load_scenario, parse_scenario
from gridai_env.scenario.spec import DemandSpec, Scenario, scenario_hash
from gridai_env.traces import TraceError
from gridai_env.traces.files.demand import read_demand
from gridai_env.traces.files.jobs import read_job_rows
from scripts.runs.arguments import InstancesBySeed, ScenarioOptions, sources
from scripts.validate import main as validate
from tests.support.small_scenario import SMALL

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
WINDOWS = "t_s,model,req_per_s,active_clients,token_cover,input_tokens_mean,output_tokens_mean"
PREFILL, DECODE = 9000.0, 1800.0
START = "2023-07-05T00:00"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_text(*lines: str, name: str = "own.csv") -> Path:
        path = tmp_path / name
        opener: Any = gzip.open if name.endswith(".gz") else open
        with opener(path, "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return path

    return write_text


def windows(days: float, rate: Callable[[int], float], step_s: int = 600, model: str = "m") -> list[str]:
    """Rows of windowed rates; ``rate`` of the window's number."""
    count = round(days * 86400 / step_s)
    return [WINDOWS, *(f"{i * step_s},{model},{float(rate(i))!r},1,1,900,180" for i in range(count))]


def daily(i: int) -> float:
    """A rate with a day and a drift, so that every window is another."""
    return 10 + 5 * math.sin(2 * math.pi * (i % 144) / 144) + 0.01 * i


def small(**changes: Any) -> Scenario:
    return parse_scenario({**SMALL, **changes}, "small")


def episode(path: Path, options: str = "", seed: int = 0, **changes: Any) -> Instance:
    return make_instance(small(**changes), seed, start=START, demand=f"{path}{options}")


def day_of(instance: Instance) -> int:
    """The day of the file, from 0, that was drawn for the first day of the episode's history."""
    found = re.search(r"day (\d+) of the file first", instance.provenance["demand"])
    assert found is not None
    return int(found[1]) - 1


def local_time(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def expected_arrivals(instance: Instance, gpus: np.ndarray, window_min: int) -> np.ndarray:
    """Arrivals [T,C] by clock arithmetic: the region's local time of day, the file's window then, the level."""
    scenario = instance.scenario
    start = datetime.fromisoformat(str(instance.start_utc)).replace(tzinfo=UTC)
    zones = [region.timezone for region in scenario.regions]
    midnight = min(local_time(start - timedelta(days=1), z) for z in zones).replace(hour=0, minute=0)
    out = np.empty((instance.steps, len(zones)))
    for t in range(instance.steps):
        for c, region in enumerate(scenario.regions):
            begin = local_time(start + timedelta(hours=t * scenario.dt_h), region.timezone)
            minute = (begin - midnight) // timedelta(minutes=1) + 1440 * day_of(instance)
            inside = range(minute, minute + round(60 * scenario.dt_h))
            relative = np.mean([gpus[m // window_min] for m in inside]) / np.nanmean(gpus)
            out[t, c] = region.mean_gpus * scenario.dt_h * relative
    return out


def raw_gpus(path: Path, model: str) -> np.ndarray:
    """Busy accelerators of each window by the token model, from the text of the file."""
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == model]
    return np.array(
        [
            float(r["req_per_s"])
            * (float(r["input_tokens_mean"]) / PREFILL + float(r["output_tokens_mean"]) / DECODE)
            for r in rows
        ]
    )


# Reading ------------------------------------------------------------------------------------------


def test_requests_become_gpu_hours_by_hand(write: Callable[..., Path]) -> None:
    path = write(
        AZURE,
        "2023-11-16 18:15:30.5,9000,9000",  # a minute that is covered in part does not count
        "2023-11-16 18:16:01.2500000,9000,1800",
        "2023-11-16 18:16:59.9+00:00,18000,0",
        "2023-11-16T18:18:00Z,0,3600",
        "2023-11-16 18:19:10,1,1",
        name="own.csv.gz",
    )
    minutes = read_demand(path).minutes
    assert minutes.stamped
    assert np.datetime64(minutes.first_min, "m") == np.datetime64("2023-11-16T18:16")
    assert minutes.requests.tolist() == [2, 0, 1]
    assert minutes.context_tokens.tolist() == [27000, 0, 0]
    shape = demand_shape(DemandSpec(source=str(path)))
    # 3 + 1 GPU-s, 0, 2 GPU-s in a minute of 60 s each.
    assert shape.mean_gpus == pytest.approx((4 / 60 + 0 + 2 / 60) / 3)
    assert shape.per_min == pytest.approx([2, 0, 1])


BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"


def test_burstgpt_by_hand(write: Callable[..., Path]) -> None:
    """Seconds from a midnight without a date; all models or one, whose silent minutes are zeros."""
    path = write(
        BURST,
        "0,ChatGPT,100,10,110,Conversation log",
        "61.5,GPT-4,200,20,220,API log",
        "65,ChatGPT,300,0,300,API log",
        "179,ChatGPT,400,40,440,Conversation log",
    )
    for model, requests, context, generated in (
        (None, [1, 2, 1], [100, 500, 400], [10, 20, 40]),
        ("GPT-4", [0, 1, 0], [0, 200, 0], [0, 20, 0]),
    ):
        minutes = read_demand(path, None, model).minutes
        assert (minutes.first_min, minutes.stamped) == (0, False)
        assert minutes.requests.tolist() == requests
        assert minutes.context_tokens.tolist() == context
        assert minutes.generated_tokens.tolist() == generated
    with pytest.raises(TraceError, match="model = 'o1' is not in the file; it has ChatGPT, GPT-4"):
        read_demand(path, None, "o1")
    bad = write(BURST, "5,m,1,1,2,API log", "4,m,1,1,2,API log", name="bad.csv")
    with pytest.raises(TraceError, match="line 3, Timestamp 4 s is earlier"):
        read_demand(bad)


@pytest.mark.parametrize("name", ["own.jsonl", "own.jsonl.gz"])
def test_mooncake_by_hand(write: Callable[..., Path], name: str) -> None:
    """Milliseconds from the first request, one JSON object per line."""
    rows = [(0, 6758, 500), (59_999, 100, 5), (60_000, 40, 4), (119_400, 1, 1)]
    lines = [
        f'{{"timestamp": {t}, "input_length": {i}, "output_length": {o}, "hash_ids": [0, 1]}}'
        for t, i, o in rows
    ]
    trace = read_demand(write(*lines, name=name))
    assert trace.format_name == "mooncake"
    assert trace.minutes.context_tokens.tolist() == [6858, 41]
    assert trace.minutes.generated_tokens.tolist() == [505, 5]
    for fault, message in (
        ("{oops", "line 5 is no JSON"),
        ("[1]", "line 5 is no JSON object"),
        ('{"timestamp": 120000, "input_length": 1}', "line 5, output_length = ''"),
        ('{"timestamp": -1, "input_length": 1, "output_length": 1}', "line 5, timestamp = '-1'"),
    ):
        with pytest.raises(TraceError, match=message):
            read_demand(write(*lines, fault, name=f"bad-{name}"))
    with pytest.raises(TraceError, match="the file is empty"):
        read_demand(write("", name="none.jsonl"))


def test_images_count_as_the_scenario_says(write: Callable[..., Path]) -> None:
    rows = [f"2025-01-01T00:{m:02d}:{s},900,0,{m}" for m in range(4) for s in ("00", "59")]
    path = write(AZURE + ",NumImages", *rows)
    with pytest.raises(TraceError, match="NumImages; say how many tokens"):
        demand_shape(DemandSpec(source=str(path)))
    shape = demand_shape(DemandSpec(source=str(path), image_tokens=450.0))
    assert shape.per_min == pytest.approx(np.array([900, 1350, 1800, 2250]) / 1575)


def test_windows_with_holes_and_modalities(write: Callable[..., Path]) -> None:
    header = WINDOWS + ",text_tokens_mean,image_tokens_mean,audio_tokens_mean"
    rows = [
        "0,a,10,1,1,900,180,,,",
        "600,a,0.1,1,1,900,180,,,",  # below 5 % of the median: a hole
        "1200,a,10,1,1,,,,,",  # no tokens: a hole
        "2400,a,10,1,1,,180,400,500,",  # 1800 s is missing: a hole
        "3000,a,20,1,1,,180,900,,",
    ]
    shape = demand_shape(DemandSpec(source=str(write(header, *rows))))
    good = np.isfinite(shape.per_min[::10])
    assert good.tolist() == [True, False, False, False, True, True]
    assert shape.per_min[::10][good] == pytest.approx([0.75, 0.75, 1.5])
    assert shape.mean_gpus == pytest.approx(10 * (0.1 + 0.1) * 4 / 3)
    filled = demand_shape(DemandSpec(source=str(write(header, *rows)), fill_gap_h=0.5))
    assert np.isfinite(filled.per_min).all()
    kept = demand_shape(DemandSpec(source=str(write(header, *rows)), fill_gap_h=0.4))
    assert np.isnan(kept.per_min).sum() == 30


BAD = {
    "empty": ([], "the file is empty"),
    "blank header": ([""], "the file is empty"),
    "no rows": ([AZURE], "no rows"),
    "no rows of windows": ([WINDOWS], "no rows"),
    "a price file": (
        ["utc,zone,price_usd_per_mwh", "2023,Z,1"],
        "found the header 'utc,zone,price_usd_per_mwh'",
    ),
    "short row": ([AZURE, "2023-11-16 18:15:30,1"], "line 2 has 2 cells, the header has 3"),
    "negative": (
        [AZURE, "2023-11-16 18:15:30,1,-4"],
        "line 2, GeneratedTokens = '-4': must be a number from 0",
    ),
    "not a number": ([AZURE, "2023-11-16 18:15:30,nan,4"], "ContextTokens = 'nan'"),
    "too many": ([AZURE, "2023-11-16 18:15:30,1e9,4"], "from 0 to 1e+07"),
    "unsorted": (
        [AZURE, "2023-11-16 18:15:30,1,4", "2023-11-16 18:15:29,1,4"],
        "line 3, TIMESTAMP 2023-11-16T18:15:29 is earlier",
    ),
    "other zone": ([AZURE, "2023-11-16 18:15:30+01:00,1,4"], "is not UTC"),
    "no stamp": ([AZURE, "yesterday at noon,1,4"], "TIMESTAMP"),
    "no date": ([AZURE, "2023-99-16 18:15:30,1,4"], "is no ISO 8601 date and time"),
    "a moment": ([AZURE, "2023-11-16 18:15:30,1,4"], "cover no whole minute"),
    "one window": ([WINDOWS, "0,m,1,1,1,1,1"], "at least two"),
    "doubled": ([WINDOWS, "0,m,1,1,1,1,1", "0,m,1,1,1,1,1"], "does not come after"),
    "unequal": ([WINDOWS, "0,m,1,1,1,1,1", "600,m,1,1,1,1,1", "1500,m,1,1,1,1,1"], "must be equal"),
    "negative rate": ([WINDOWS, "0,m,-1,1,1,1,1"], "line 2, req_per_s = '-1'"),
    "no work": ([WINDOWS, "0,m,0,1,1,1,1", "600,m,0,1,1,1,1"], "holds no work"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_files_are_one_line(write: Callable[..., Path], case: str) -> None:
    lines, message = BAD[case]
    path = write(*lines) if lines else write("")
    if not lines:
        path.write_text("")
    with pytest.raises(TraceError) as error:
        demand_shape(DemandSpec(source=str(path)))
    assert message in str(error.value) and "own.csv" in str(error.value) and "\n" not in str(error.value)


def test_formats_and_models_that_are_not_there(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(*windows(1, daily), *windows(1, daily, model="n")[1:])
    for options, message in (
        ({"format": "requests"}, r"expected requests \(TIMESTAMP.*which is the form windows"),
        ({}, "holds the models m, n; choose one"),
        ({"model": "q"}, "model = 'q' is not in the file; it has m, n"),
    ):
        with pytest.raises(TraceError, match=message):
            demand_shape(DemandSpec(source=str(path), **options))
    requests = write(AZURE, *(f"2023-11-16 18:{m:02d}:00,1,4" for m in range(9)), name="r.csv")
    with pytest.raises(TraceError, match="has no models"):
        demand_shape(DemandSpec(source=str(requests), model="m"))
    with pytest.raises(TraceError, match="unknown suffix"):
        demand_shape(DemandSpec(source=str(write(AZURE, name="own.txt"))))
    with pytest.raises(FileNotFoundError, match="no such file of demand"):
        demand_shape(DemandSpec(source=str(tmp_path / "none.csv")))
    (tmp_path / "fake.csv.gz").write_text("plain")
    with pytest.raises(TraceError, match="cannot be read as text"):
        demand_shape(DemandSpec(source=str(tmp_path / "fake.csv.gz")))


# In an episode ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dt_h", [1.0, 0.25])
def test_arrivals_are_level_times_shape_at_local_time(write: Callable[..., Path], dt_h: float) -> None:
    path = write(*windows(9, daily))
    instance = episode(path, dt_h=dt_h)
    arrivals = instance.exogenous.arrivals_gpuh
    expected = expected_arrivals(instance, raw_gpus(path, "m"), 10)
    assert arrivals.sum(-1) == pytest.approx(expected, rel=1e-9)
    assert arrivals.sum() == pytest.approx(expected.sum(), rel=1e-12)
    assert arrivals / arrivals.sum(-1, keepdims=True) == pytest.approx(
        np.broadcast_to(instance.compiled.row_share, arrivals.shape)
    )


def test_arrivals_across_the_change_of_clocks(write: Callable[..., Path]) -> None:
    path = write(*windows(9, daily))
    instance = make_instance(small(), 0, start="2023-03-25T12:00", demand=str(path))  # Berlin: 26 March
    expected = expected_arrivals(instance, raw_gpus(path, "m"), 10)
    assert instance.exogenous.arrivals_gpuh.sum(-1) == pytest.approx(expected, rel=1e-9)


def test_utc_stamps_are_read_at_the_clients_local_time(write: Callable[..., Path]) -> None:
    first = datetime(2024, 5, 10, tzinfo=UTC)
    hours = [first + timedelta(hours=h) for h in range(9 * 24)]
    # Each hour's work is the local hour in Los Angeles plus one, all in two requests.
    rows = [
        f"{h:%Y-%m-%d %H}:{m},{1000 * (1 + local_time(h, 'America/Los_Angeles').hour)},0"
        for h in hours
        for m in ("00:00.009930+00:00", "59:59")
    ]
    instance = episode(write(AZURE, *rows), ",timezone=America/Los_Angeles")
    start = datetime.fromisoformat(START).replace(tzinfo=UTC)
    mean = np.mean([local_time(h, "America/Los_Angeles").hour + 1 for h in hours])
    for c, region in enumerate(instance.scenario.regions):
        at = [local_time(start + timedelta(hours=t), region.timezone).hour + 1 for t in range(48)]
        expected = region.mean_gpus * np.array(at) / mean
        assert instance.exogenous.arrivals_gpuh[:, c].sum(-1) == pytest.approx(expected)


def test_the_statistics_of_the_file_are_kept(write: Callable[..., Path]) -> None:
    noise = np.random.default_rng(1).uniform(0.5, 1.5, 8 * 144)
    path = write(*windows(8, lambda i: daily(i) * noise[i]))
    one = [{**SMALL["regions"][0], "timezone": "UTC"}]
    scenario = {"regions": one, "horizon_h": 192.0, "jobs": [], "events": []}
    instance = episode(path, ",repeat=true", **scenario)
    hourly = raw_gpus(path, "m").reshape(-1, 6).mean(1)
    arrivals = instance.exogenous.arrivals_gpuh.sum((1, 2))
    assert arrivals.mean() == pytest.approx(one[0]["mean_gpus"])
    assert arrivals.max() / arrivals.mean() == pytest.approx(hourly.max() / hourly.mean())
    assert arrivals.std() / arrivals.mean() == pytest.approx(hourly.std() / hourly.mean())
    assert sorted(arrivals) == pytest.approx(sorted(hourly / hourly.mean() * arrivals.mean()))


def test_seeds_draw_days_and_batches_equal_singles(write: Callable[..., Path]) -> None:
    path = write(*windows(9, daily))
    compiled = compile_scenario(load_scenario(small(), demand=str(path)))
    batch = make_batch(compiled, range(12))
    assert len({day_of(instance) for instance in batch}) > 2
    for seed in (0, 7):
        alone = make_batch(compiled, [seed])[0]
        assert (alone.hash, alone.provenance) == (batch[seed].hash, batch[seed].provenance)
        again = make_instance(small(), seed, demand=str(path))
        assert again.hash == alone.hash


def test_other_classes_stay_synthetic_with_the_same_noise(write: Callable[..., Path]) -> None:
    path = write(*windows(9, daily))
    synthetic = make_instance(small(), 3, start=START)
    mixed = episode(path, ",classes=chat", seed=3)
    names = np.array([synthetic.compiled.class_names[c] for c in synthetic.compiled.row_class])
    a, b = mixed.exogenous.arrivals_gpuh, synthetic.exogenous.arrivals_gpuh
    assert a[..., names == "batch"] == pytest.approx(b[..., names == "batch"], rel=1e-12)
    whole = expected_arrivals(mixed, raw_gpus(path, "m"), 10)
    assert a[..., names == "chat"].sum(-1) == pytest.approx(0.7 * whole, rel=1e-9)


def test_synthetic_demand_knows_nothing_of_the_switch() -> None:
    plain, switched = make_instance(small(), 1), make_instance(small(), 1, demand="synthetic")
    assert plain.hash == switched.hash and "demand" not in plain.provenance
    assert scenario_hash(plain.scenario) == scenario_hash(switched.scenario)


def test_forecasts_look_back_on_the_day_before(write: Callable[..., Path]) -> None:
    path = write(*windows(9, daily))
    instance = episode(path, forecast={"kind": "persistence"})
    sites, arrivals = instance.compiled.shape.sites, instance.exogenous.arrivals_gpuh.sum(-1)
    history = instance.knowledge.history[:, 3 * sites :]
    gpus = raw_gpus(path, "m")
    # A day earlier the file is a day earlier: 144 windows of 0.01 less each, in units of the file's mean.
    level = np.array([r.mean_gpus for r in instance.scenario.regions])
    drift = 144 * 0.01 * (900 / PREFILL + 180 / DECODE) / gpus.mean() * level
    assert arrivals[:24] - history == pytest.approx(np.broadcast_to(drift, (24, 2)), rel=1e-4)
    one_hour = instance.forecast.arrivals_gpuh[:, 0]  # the lead of an hour
    assert one_hour[:23] == pytest.approx(history[1:], rel=1e-6)


def begin_window(instance: Instance, c: int) -> int:
    """The window of ten minutes in the file at which the episode starts in a region."""
    start = datetime.fromisoformat(str(instance.start_utc)).replace(tzinfo=UTC)
    zones = [region.timezone for region in instance.scenario.regions]
    midnight = min(local_time(start - timedelta(days=1), z) for z in zones).replace(hour=0, minute=0)
    return (local_time(start, zones[c]) - midnight) // timedelta(minutes=10) + 144 * day_of(instance)


@pytest.mark.parametrize("repeat", [False, True])
def test_expectation_by_hand_from_the_past_of_the_file(write: Callable[..., Path], repeat: bool) -> None:
    path = write(*windows(16, daily))
    instance = episode(path, ",repeat=true" if repeat else "", seed=5)
    gpus = raw_gpus(path, "m") / raw_gpus(path, "m").mean()
    for c, region in enumerate(instance.scenario.regions):
        first = begin_window(instance, c)
        # Hours before the start, the last one first: those of the file, or of as many rounds as fill 28 days.
        hours = 28 * 24 if repeat else first // 6
        back = np.array([gpus[(first - 6 * h + np.arange(-6, 0)) % len(gpus)].mean() for h in range(hours)])
        usual = np.array([back[h::24].mean() for h in range(24)])
        level = np.mean([back[h] - usual[h % 24] for h in range(min(hours, 7 * 24))])
        expected = [usual[-(t + 1) % 24] + level for t in range(48)]
        found = instance.knowledge.climatology[:, 3 * instance.compiled.shape.sites + c]
        assert found == pytest.approx(region.mean_gpus * np.array(expected), rel=1e-6)
    assert "28 days before the start, level of 7" in instance.provenance["demand"]


@pytest.mark.parametrize("kind", ["day_ahead", "persistence", "published"])
def test_nothing_is_known_of_the_hours_of_the_file_to_come(write: Callable[..., Path], kind: str) -> None:
    """All windows that the episode meets after its longest lead are others, with the same mean of the file."""
    rates, t = [daily(i) for i in range(30 * 144)], 5
    before = episode(write(*windows(30, lambda i: rates[i])), seed=3, forecast={"kind": kind})
    cut = max(begin_window(before, c) for c in range(2)) + 6 * (t + 25)
    rates[cut:] = rates[cut:][::-1]
    after = episode(write(*windows(30, lambda i: rates[i])), seed=3, forecast={"kind": kind})
    assert not np.allclose(before.exogenous.arrivals_gpuh[t + 26 :], after.exogenous.arrivals_gpuh[t + 26 :])
    assert before.knowledge.climatology == pytest.approx(after.knowledge.climatology, rel=1e-6)
    assert before.forecast.values[: t + 1] == pytest.approx(after.forecast.values[: t + 1], rel=1e-6)


def test_the_outlook_splits_rows_without_the_file(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(*windows(9, daily))
    instance = episode(path, ",classes=chat", seed=3)
    saved = instance.save(tmp_path / "instance.npz")
    path.unlink()
    back = load_instance(saved)
    assert (back.hash, back.provenance) == (instance.hash, instance.provenance)
    share = np.array([back.compiled.class_names[c] == "chat" for c in back.compiled.row_class])
    climatology = back.knowledge.climatology[:, 3 * back.compiled.shape.sites :]
    foreseen = exogenous_forecast(back, 0, 12).arrivals_gpuh
    synthetic = exogenous_forecast(make_instance(small(), 3, start=START), 0, 12).arrivals_gpuh
    assert foreseen[0] == pytest.approx(back.exogenous.arrivals_gpuh[0])
    total = foreseen.sum(-1)
    # Expected batch work is that of the calendar, the rest of the climatology is chat.
    for t in range(1, 12):
        calendar = make_instance(
            small(regions=[{**r, "noise": 0.0} for r in SMALL["regions"]]), 3, start=START
        )
        batch = calendar.exogenous.arrivals_gpuh[t][:, ~share].sum(-1)
        assert foreseen[t][:, ~share].sum(-1) / total[t] == pytest.approx(batch / climatology[t], rel=1e-5)
    assert synthetic.shape == foreseen.shape


def test_day_ahead_forecasts_are_as_skilled_as_asked(write: Callable[..., Path]) -> None:
    noise = np.random.default_rng(5).normal(0, 2.0, 30 * 144)
    path = write(*windows(30, lambda i: max(20 + 5 * math.sin(2 * math.pi * i / 144) + noise[i // 6 * 6], 1)))
    compiled = compile_scenario(load_scenario(small(), demand=str(path)))
    batch = make_batch(compiled, range(300))
    truth = batch.exogenous.arrivals_gpuh.sum(-1)[:, :, 0]
    mean = batch.knowledge.climatology[:, :, 3 * compiled.shape.sites]
    for i, (lead, skill) in enumerate(((1, 0.95), (24, 0.6))):
        at = {1: 0, 24: len(batch.forecast.leads) - 1}[lead]
        assert batch.forecast.leads[at] == lead, i
        forecast = batch.forecast.arrivals_gpuh[:, :-lead, at, 0] - mean[:, lead:]
        squared = np.corrcoef(forecast.ravel(), (truth - mean)[:, lead:].ravel())[0, 1] ** 2
        assert squared == pytest.approx(skill, abs=0.05)


# Lengths ------------------------------------------------------------------------------------------


def hour_of_requests(write: Callable[..., Path], minutes: int = 58) -> Path:
    first = datetime(2023, 11, 16, 18, 15)
    rows = []
    for m in range(minutes):
        now = first + timedelta(minutes=m)
        rows += [f"{now:%Y-%m-%d %H:%M}:{s},{900 + 10 * m},{180 + m % 7}" for s in ("00", "59")]
    return write(AZURE, *rows, name="hour.csv.gz")


def test_short_files_serve_short_episodes_only(write: Callable[..., Path]) -> None:
    path = hour_of_requests(write)
    classes = [{**c, "wait_h": 0.0} for c in SMALL["classes"]]
    fine = {"dt_h": 1 / 12, "horizon_h": 0.75, "jobs": [], "events": [], "classes": classes}
    for options, changes, message in (
        ("", fine, "less than a day, so it has no time of day"),
        ("", {**fine, "dt_h": 0.5, "horizon_h": 0.5}, "less than 2 steps"),  # repeating would not help
        (",repeat=true", {**fine, "dt_h": 0.5, "horizon_h": 0.5}, "less than 2 steps"),
        (",repeat=true", {**fine, "horizon_h": 1.0}, "the episode lasts 1 h"),
    ):
        with pytest.raises(TraceError, match=message):
            episode(path, options, **changes)
    instance = episode(path, ",repeat=true", **fine)
    gpus = np.array([2 * ((900 + 10 * m) / PREFILL + (180 + m % 7) / DECODE) / 60 for m in range(58)])
    found = re.search(r"from its minute (\d+)", instance.provenance["demand"])
    assert found is not None
    start = datetime.fromisoformat(START)
    berlin = start + timedelta(hours=2)  # the earliest local day is California's: 3 July
    first = (berlin - datetime(2023, 7, 3)) // timedelta(minutes=1) - (18 * 60 + 15)
    at = (first + int(found[1]) + np.arange(45)) % 58
    expected = (gpus[at] / gpus.mean()).reshape(9, 5).mean(1) * 400 / 12
    assert instance.exogenous.arrivals_gpuh[:, 0].sum(-1) == pytest.approx(expected)


def test_files_that_are_too_short_or_full_of_holes(write: Callable[..., Path]) -> None:
    with pytest.raises(TraceError, match=r"holds 48.0 h, but an episode .* needs 81.0 h"):
        episode(write(*windows(2, daily)))
    repeated = episode(write(*windows(2, daily)), ",repeat=true")
    assert "repeated every 2 days, so what comes again is no surprise" in repeated.provenance["demand"]
    holes = write(*windows(9, lambda i: 0.0 if i % 288 in (5, 6) else daily(i)), name="holes.csv")
    with pytest.raises(TraceError, match=r"no 81.0 h in a row without a hole \(100 min of holes\)"):
        episode(holes)
    filled = episode(holes, ",fill_gap_h=0.5")
    assert "100 min of holes, 100 min of them interpolated" in filled.provenance["demand"]
    one_hole = write(*windows(9, lambda i: 0.0 if i == 130 else daily(i)), name="one.csv")
    days = {day_of(episode(one_hole, seed=seed)) for seed in range(40)}
    assert days == {1, 2, 3, 4}  # the first day has the hole, at 21:40; episodes begin at 17:00
    cyclic = {day_of(episode(one_hole, ",repeat=true", seed=seed)) for seed in range(40)}
    assert cyclic == {1, 2, 3, 4, 5}  # an episode reaches into four days


# Scenario keys ------------------------------------------------------------------------------------


def test_faults_of_the_keys_name_them(write: Callable[..., Path]) -> None:
    for demand, message in (
        ({"source": "x.csv", "classes": ["chatt"]}, "demand.classes = 'chatt': must be the name of a class"),
        ({"source": "x.csv", "classes": []}, "demand.classes = []: must be a list with at least one entry"),
        ({"source": "x.csv", "timezone": "Berlin"}, "demand.timezone = 'Berlin'"),
        ({"source": "x.csv", "modle": "m"}, "demand.modle = 'm': unknown key (did you mean 'model'?)"),
        ("x.csv,model", "'model' is no key=value"),
        ("x.csv,fill_gap_h=-1", "demand.fill_gap_h = -1.0: must be a number in [0, inf) [h]"),
        ({"source": "x.csv", "decode_tokens_per_gpu_s": 0.0}, "[tokens per GPU-s]"),
    ):
        with pytest.raises(ScenarioError) as error:
            small(demand=demand)
        assert message in str(error.value)
    text = small(demand="x.csv, model=m, repeat=true, classes=chat+batch, fill_gap_h=0.5").demand
    assert text == DemandSpec(
        source="x.csv", model="m", repeat=True, classes=["chat", "batch"], fill_gap_h=0.5
    )


def test_environments_take_the_switch(write: Callable[..., Path]) -> None:
    path = write(*windows(9, daily))
    env = GridAIEnv(small(), demand=str(path))
    _, _ = env.reset(seed=4)
    instance = make_instance(small(), 4, demand=str(path))
    assert env.instance.hash == instance.hash
    both = GridAIVectorEnv(2, small(), demand=str(path))
    both.reset(seed=[4, 5])
    env.close()
    both.close()


# Jobs ---------------------------------------------------------------------------------------------


JOBS = {"count": 4, "mean_gpus": 50.0, "value_usd_per_gpuh": 0.2, "slack": 0.5}


def job_file(write: Callable[..., Path], form: str = "pai") -> Path:
    header = {"pai": "arrival_time,length,cpus", "plain": "arrival_h,duration_h,gpus"}[form]
    rows = [f"{0.5 * i + 0.3},{0.4 + 0.37 * (i % 17)},{1 + i % 5}" for i in range(400)]
    return write(header, *rows, name="jobs.csv")


def test_jobs_are_drawn_by_rule(write: Callable[..., Path]) -> None:
    path = job_file(write)
    scenario = small(jobs=[], jobs_from={**JOBS, "source": str(path), "max_gpus": 70.0, "seed": 3})
    assert scenario.jobs_from is not None and scenario.jobs_from.drawn is not None
    found = re.search(r"4 of (\d+) jobs that fit, seed 3, from its hour (\d+)", scenario.jobs_from.drawn)
    assert found is not None
    with path.open(newline="") as file:
        rows = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
    mean = np.mean([r["cpus"] for r in rows if r["length"] >= 1.0])
    first, eligible = int(found[2]), {}
    for i, row in enumerate(rows):
        release = math.ceil(row["arrival_time"] - first)
        duration = math.ceil(row["length"] - 1e-9)
        deadline = release + math.ceil(duration * 1.5)
        gpus = 50.0 * row["cpus"] / mean
        if row["arrival_time"] >= first and row["length"] >= 1 and deadline <= 48 and gpus <= 70:
            eligible[f"pai-{i + 1}"] = (release, duration, deadline, gpus)
    assert len(eligible) == int(found[1])
    assert len({job.name for job in scenario.jobs}) == 4
    for job in scenario.jobs:
        release, duration, deadline, gpus = eligible[job.name]
        assert (job.release_h, job.duration_h, job.deadline_h) == (release, duration, deadline)
        assert job.gpus == pytest.approx(gpus)
        assert job.value_usd == pytest.approx(0.2 * gpus * duration)


def test_drawn_jobs_stay_and_the_file_is_not_needed_again(write: Callable[..., Path], tmp_path: Path) -> None:
    path = job_file(write, "plain")
    scenario = small(jobs_from={**JOBS, "source": str(path)})
    assert len(scenario.jobs) == 6 and scenario.jobs[2].name.startswith("plain-")
    assert scenario == small(jobs_from={**JOBS, "source": str(path)})
    assert scenario.jobs != small(jobs_from={**JOBS, "source": str(path), "seed": 1}).jobs
    instance = make_instance(scenario, 0)
    assert "4 of" in instance.provenance["jobs"] and "seed 0" in instance.provenance["jobs"]
    saved = instance.save(tmp_path / "instance.npz")
    path.unlink()
    assert load_instance(saved).scenario == scenario
    assert load_scenario(scenario, carbon_price_usd_per_t=1.0).jobs == scenario.jobs
    short = load_scenario(scenario, horizon_h=24.0)
    assert all(job.deadline_h + job.release_jitter_h <= 24 for job in short.jobs)


def test_faults_of_job_files(write: Callable[..., Path], tmp_path: Path) -> None:
    good = str(job_file(write))
    for changes, message in (
        ({"count": 500}, r"jobs_from.count = 500: only \d+ jobs of .* fit into 48 h"),
        ({"min_duration_h": 100.0}, "jobs_from.min_duration_h = 100: no job"),
        ({"sites": ["nowhere"]}, r"jobs_from.sites = 'nowhere': must be the name of a site"),
        ({"count": 0}, r"jobs_from.count = 0: must be a whole number in \[1, 1000\]"),
    ):
        with pytest.raises(ScenarioError, match=message):
            small(jobs_from={**JOBS, "source": good, **changes})
    for lines, message in (
        (["a,b", "1,2"], "expected jobs in the form pai .* found the header 'a,b'"),
        (["arrival_time,length,cpus"], "no rows"),
        (["arrival_time,length,cpus", "1,-2,1"], "line 2, length = '-2'"),
        (["arrival_time,length,cpus", "2,2,1", "1,2,1"], "row 2, arrival_time is earlier"),
        (["arrival_time,length,cpus", "2e6,2,1"], "row 1, arrival_time = 2e"),
    ):
        with pytest.raises(TraceError, match=message):
            read_job_rows(write(*lines, name="bad.csv"))
    (tmp_path / "fake.parquet").write_text("plain")
    pytest.importorskip("pyarrow")
    with pytest.raises(TraceError, match="not a Parquet file"):
        read_job_rows(tmp_path / "fake.parquet")
    with pytest.raises(FileNotFoundError, match="no such file of jobs"):
        read_job_rows(tmp_path / "none.parquet")
    with pytest.raises(TraceError, match="unknown suffix"):
        read_job_rows(write("x", name="jobs.txt"))


# Real files, end to end ---------------------------------------------------------------------------


def play(instance: Instance) -> None:
    """Step the environment, play Local-Only through the judge, and compare with a short plan."""
    pytest.importorskip("highspy")
    from baselines.optimum.milp import solve
    from baselines.rules.single_signal import LocalOnly
    from gridai_env.rollout.run import run

    env = GridAIEnv(instance=instance)
    obs, _ = env.reset(seed=0)
    ended = False
    while not ended:
        obs, reward, ended, _, _ = env.step(np.zeros(env.action_space.shape, dtype=np.float32))
        assert np.isfinite(reward) and all(np.isfinite(part).all() for part in obs.values())
    local = run(LocalOnly(), instance)
    plan = solve(instance, mip_gap=1e-3, time_limit_s=20, threads=1)
    assert local.benefit_usd <= plan.bound + 1e-6 * abs(plan.bound)
    assert plan.benefit_usd >= local.benefit_usd - 1e-3 * abs(plan.bound)


def test_servegen_end_to_end(data_dir: Path) -> None:
    path = data_dir / "servegen/totals_10min.csv.gz"
    instance = make_instance("two_sites", 0, demand=f"{path},model=m-large", horizon_h=24.0)
    expected = expected_arrivals(instance, raw_gpus(path, "m-large"), 10)
    assert instance.exogenous.arrivals_gpuh.sum(-1) == pytest.approx(expected, rel=1e-9)
    play(instance)


def test_mooncake_end_to_end(data_dir: Path, tmp_path: Path) -> None:
    """The first lines of the published file, to which a last minute is added by hand."""
    head = (data_dir / "mooncake" / "conversation_trace_head50.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in head.splitlines()]
    path = tmp_path / "head.jsonl"
    path.write_text(head.rstrip() + '\n{"timestamp": 119999, "input_length": 1, "output_length": 1}\n')
    minutes = read_demand(path).minutes
    assert minutes.requests.sum() == len(rows) + 1
    assert minutes.context_tokens.sum() == sum(row["input_length"] for row in rows) + 1


def test_azure_end_to_end(data_dir: Path) -> None:
    path = data_dir / "azure-llm-2023/AzureLLMInferenceTrace_conv.csv.gz"
    with gzip.open(path, "rt") as file:
        whole = [r for r in csv.DictReader(file) if "18:16" <= r["TIMESTAMP"][11:16] <= "19:13"]
    trace = read_demand(path).minutes
    assert trace.requests.sum() == len(whole)
    assert trace.context_tokens.sum() == sum(int(r["ContextTokens"]) for r in whole)
    assert trace.generated_tokens.sum() == sum(int(r["GeneratedTokens"]) for r in whole)
    data = load_scenario("two_sites").model_dump()
    data |= {"dt_h": 1 / 12, "horizon_h": 0.75, "demand": f"{path},repeat=true"}
    data["classes"] = [{**task, "wait_h": min(task["wait_h"], 0.25)} for task in data["classes"]]
    instance = make_instance(parse_scenario(data, "azure"), 0)
    assert instance.steps == 9
    play(instance)


def test_pai_jobs_end_to_end(data_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    copy = tmp_path / "pai.parquet"
    shutil.copy(data_dir / "alibaba-pai-jobs/pai_100k.parquet", copy)
    data = load_scenario("two_sites").model_dump()
    data["jobs_from"] = {"source": str(copy), "count": 5, "mean_gpus": 400.0, "min_duration_h": 2.0}
    instance = make_instance(parse_scenario(data, "pai"), 0)
    copy.unlink()
    assert len(instance.job_names) == 5
    for job in instance.scenario.jobs:
        assert job.duration_h >= 2 and job.deadline_h >= job.release_h + 2 * job.duration_h - 1e-9
    play(instance)


# Commands -----------------------------------------------------------------------------------------


def test_the_switch_works_in_yaml_and_on_the_command_line(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(*windows(9, daily), *windows(9, lambda i: 20.0, model="flat")[1:])
    data = {**SMALL, "demand": {"source": str(path), "model": "flat"}, "start": {"first": "2023-07-05"}}
    scenario = tmp_path / "my.yaml"
    scenario.write_text(yaml.safe_dump(data), encoding="utf-8")
    flat = make_instance(scenario, 0).exogenous.arrivals_gpuh.sum(-1)
    assert flat == pytest.approx(np.broadcast_to([400.0, 600.0], (48, 2)))
    assert validate([str(scenario), "--demand", f"{path},model=m"]) == 0
    out = capsys.readouterr().out
    assert "demand: own.csv model m (sha256 " in out and "rhine on seed 0: mean" in out
    options = ScenarioOptions(scenario=str(scenario), demand=f"{path},model=m", start=START)
    instance = InstancesBySeed(options).make(0)
    assert instance.exogenous.arrivals_gpuh.sum(-1) == pytest.approx(
        expected_arrivals(instance, raw_gpus(path, "m"), 10)
    )
    assert any(line.startswith("  demand: own.csv model m") for line in sources(instance))
    assert validate([str(scenario), "--demand", f"{path},model=other"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "model = 'other' is not in the file; it has m, flat" in err
