"""Instances: reproducible, equal alone and in batches, saved and loaded, with the rules of their arrays."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gridai_env
from gridai_env.episodes.expectation import zone_past
from gridai_env.episodes.instance import Instance, load_instance, make_batch, make_instance, stack
from gridai_env.episodes.last_resorts import last_resort_prices
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.episodes.starts import STREAMS, parse_start, streams
from gridai_env.files import HEADER, InstanceError, digest, read_archive, write_archive
from gridai_env.world import physics
from gridai_env.world.state import OPTIONAL, Exogenous, State
from tests.support.small_scenario import SMALL, small

ROOT = Path(__file__).resolve().parents[3]


def equal(a: Instance, b: Instance) -> bool:
    """Whether two instances agree bit for bit."""
    mine, theirs = a.arrays(), b.arrays()
    return mine.keys() == theirs.keys() and all(
        mine[k].dtype == theirs[k].dtype and mine[k].tobytes() == theirs[k].tobytes() for k in mine
    )


# Reproducible ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["perfect", "persistence", "day_ahead"])
@pytest.mark.parametrize("dt_h", [1.0, 0.25])
def test_alone_is_as_in_any_batch(kind: str, dt_h: float) -> None:
    compiled = small(dt_h=dt_h, forecast={"kind": kind})
    seeds = [5, 0, 17, 3, 0, 2**40, *range(30, 50)]
    batch = make_batch(compiled, seeds)
    for b in (0, 1, 2, 4, 5, 20, 25):
        alone = make_batch(compiled, [seeds[b]])[0]
        assert equal(alone, batch[b])
        assert alone.hash == batch[b].hash
        assert alone.start_utc == batch[b].start_utc
    assert equal(batch[1], batch[4])


@pytest.mark.parametrize("changes", [{"regions": SMALL["regions"][:1]}, {"jobs": []}, {"events": []}])
def test_alone_is_as_in_any_batch_at_the_smallest_sizes(changes: dict[str, Any]) -> None:
    compiled = small(**changes)
    assert equal(make_batch(compiled, [2])[0], make_batch(compiled, range(40))[2])


def test_seeds_give_different_episodes_and_zero_is_a_seed() -> None:
    hashes = {instance.hash for instance in make_batch(small(), range(20))}
    assert len(hashes) == 20


def test_another_process_makes_the_same_instance() -> None:
    code = (
        "from tests.support.small_scenario import small\nfrom gridai_env.episodes.instance import make_batch\n"
        "print(make_batch(small(), [7])[0].hash, make_batch(small(), [0, 7])[1].hash)"
    )
    env = {**os.environ, "PYTHONHASHSEED": "3"}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == [make_batch(small(), [7])[0].hash] * 2


def test_features_have_streams_of_their_own() -> None:
    """Another list of jobs or events, or another forecast, leaves the rest of the episode as it is."""
    whole = make_batch(small(), [4])[0]
    bare = make_batch(small(jobs=[], events=[], forecast={"kind": "perfect"}), [4])[0]
    assert whole.start_utc == bare.start_utc
    for name in ("arrivals_gpuh", "pue", "renewable_available_mw", "carbon_marginal_kg_per_mwh"):
        assert np.array_equal(getattr(whole.exogenous, name), getattr(bare.exogenous, name))
    children = np.random.SeedSequence(4).spawn(len(STREAMS))
    for name, child in zip(STREAMS, children, strict=True):
        assert streams([4], name)[0].random() == np.random.default_rng(child).random()


@pytest.mark.parametrize("seed", [-1, 1.5, True, "3"])
def test_odd_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(InstanceError, match="must be an integer >= 0"):
        make_batch(small(), [seed])


def test_no_seeds_are_refused() -> None:
    with pytest.raises(InstanceError, match="at least one"):
        make_batch(small(), [])


# Starts ---------------------------------------------------------------------------------------------------


def test_starts_cover_the_days_of_the_scenario() -> None:
    window = {"first": "2023-03-01", "last": "2023-03-04", "hour_utc": 6}
    starts = make_batch(small(start=window, jobs=[], events=[]), range(60)).start_utc
    assert sorted({str(s) for s in starts}) == [f"2023-03-0{d}T06:00" for d in range(1, 5)]


def test_a_start_can_be_fixed() -> None:
    wanted = np.datetime64("2023-07-01T05:00", "m")
    spring = timezone(timedelta(hours=2))
    for start in (
        "2023-07-01T05:00",
        "2023-07-01T05:00Z",
        "2023-07-01T07:00+02:00",
        datetime(2023, 7, 1, 7, tzinfo=spring),
        datetime(2023, 7, 1, 5, tzinfo=UTC),
        datetime(2023, 7, 1, 5),
        np.datetime64("2023-07-01T05"),
    ):
        assert parse_start(start) == wanted
    assert parse_start(date(2023, 7, 1)) == np.datetime64("2023-07-01T00:00")
    batch = make_batch(small(), [1, 2], start="2023-07-01T05:00")
    assert (batch.start_utc == wanted).all()
    assert batch.provenance[0]["start"] == "fixed"


@pytest.mark.parametrize("start", ["soon", 5, None])
def test_an_odd_start_is_refused(start: Any) -> None:
    with pytest.raises(InstanceError, match="must be a UTC time"):
        parse_start(start)


# Arrays ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instances() -> list[Instance]:
    return make_batch(small(), range(30)).instances


def test_shapes_and_finiteness(instances: list[Instance]) -> None:
    sizes = {"C": 2, "W": 3, "K": 2, "J": 2}
    shapes = {
        "arrivals_gpuh": "CW",
        "queue_limit_gpuh": "CW",
        "growth": "CW",
        "rehomed_gpuh": "CW",
        "job_open": "JK",
    }
    for instance in instances:
        for name in Exogenous.names():
            array = getattr(instance.exogenous, name)
            if name in OPTIONAL:
                assert not array.size, name
                continue
            assert array.shape == (48, *(sizes[letter] for letter in shapes.get(name, "K"))), name
            assert array.dtype == np.float64
        for array in instance.arrays().values():
            assert np.isfinite(array).all()
        assert instance.initial.placed_gpuh.shape == (2, 3, 2)
        assert instance.initial.committed_gpus.shape == (2, 5)
        assert instance.initial.carbon_kg.shape == ()
        assert instance.forecast.values.shape == (48, 6, 8)


def test_no_jobs_no_events() -> None:
    instance = make_batch(small(jobs=[], events=[]), [0])[0]
    assert instance.exogenous.job_open.shape == (48, 0, 2)
    assert instance.params.job_gpus.shape == (0,)
    assert instance.params.job_profile.shape == (0, 1)
    assert instance.initial.waiting.shape == (0,)
    assert instance.initial.committed_gpus.shape == (2, 1)
    assert instance.job_names == ()


def test_prices_by_hand(instances: list[Instance]) -> None:
    for instance in instances:
        exo, active = instance.exogenous, instance.knowledge.event_active
        assert (exo.sell_usd_per_mwh <= exo.buy_usd_per_mwh - 2.0).all()
        assert (exo.sell_usd_per_mwh <= 0.9 * exo.buy_usd_per_mwh + 1e-9).all()
        assert (exo.network_usd_per_mwh == np.maximum(exo.buy_usd_per_mwh, 0)).all()
        line_cut = active[:, 2]
        wanted = np.where((exo.sell_usd_per_mwh[:, 0] < 0) | line_cut, 0.0, 1.0)
        assert exo.export_limit_mw[:, 0].tolist() == wanted.tolist()
        assert not exo.export_limit_mw[:, 1].any()


def test_limits_follow_events(instances: list[Instance]) -> None:
    for instance in instances:
        exo, active = instance.exogenous, instance.knowledge.event_active
        assert exo.available_gpus[:, 0].tolist() == np.where(active[:, 0], 500.0, 1000.0).tolist()
        assert (exo.available_gpus[:, 1] == 1000).all()
        factor = np.where(active[:, 1], 0.8, 1.0)[:, None]
        assert exo.import_limit_mw == pytest.approx(factor * instance.compiled.import_limit_mw)


def test_price_scale_spread_adder_and_events() -> None:
    plain = [{**site, "grid": {}} for site in SMALL["sites"]]
    raw = make_batch(small(sites=plain, events=[]), [3])[0]
    scaled = make_batch(small(events=[]), [3])[0]
    mean = raw.knowledge.climatology[:, 0].astype(float)
    price = raw.exogenous.buy_usd_per_mwh[:, 0]
    wanted = 1.5 * (mean + 2.0 * (price - mean)) + 5.0
    assert scaled.exogenous.buy_usd_per_mwh[:, 0] == pytest.approx(wanted, rel=1e-5, abs=1e-3)
    struck = make_batch(small(), [3])[0]
    after, spike, shock = scaled.exogenous.buy_usd_per_mwh, *struck.knowledge.event_active[:, 3:].T
    north = np.where(spike, after[:, 0] * 2 + 100, after[:, 0])
    assert struck.exogenous.buy_usd_per_mwh[:, 0] == pytest.approx(np.where(shock, north * 0.5 + 10, north))
    south = np.where(shock, after[:, 1] * 0.5 + 10, after[:, 1])
    assert struck.exogenous.buy_usd_per_mwh[:, 1] == pytest.approx(south)


def test_negative_prices_do_not_open_a_pump() -> None:
    """Whatever the price, selling never beats buying and exports end where selling costs."""
    wild = [
        {**s, "grid": {**s.get("grid", {}), "export_limit_mw": 1.0, "price_spread_scale": 20.0}}
        for s in SITES
    ]
    exo = make_batch(small(sites=wild), range(20)).exogenous
    assert (exo.buy_usd_per_mwh < 0).any()
    assert (exo.sell_usd_per_mwh < exo.buy_usd_per_mwh).all()
    assert not exo.export_limit_mw[exo.sell_usd_per_mwh < 0].any()
    assert (exo.network_usd_per_mwh >= 0).all()


SITES = SMALL["sites"]


def test_pue_renewables_and_carbon_stay_in_range(instances: list[Instance]) -> None:
    for instance in instances:
        exo = instance.exogenous
        assert (exo.pue >= 1.12).all()
        assert (exo.pue <= 1.12 + 0.008 * 25).all()
        assert (exo.renewable_available_mw >= 0).all()
        assert (exo.renewable_available_mw <= [0.9, 0.8]).all()
        assert (exo.carbon_average_kg_per_mwh >= 0).all()
        assert (exo.carbon_marginal_kg_per_mwh >= 0).all()
        assert exo.battery_target_mwh[-1].tolist() == [1.0, 0.0]
        assert not exo.battery_target_mwh[:-1].any()


def test_the_initial_state(instances: list[Instance]) -> None:
    for instance in instances:
        first, state = instance.exogenous.arrivals_gpuh[0], instance.initial
        assert state.placed_gpuh[0, :2, 0].tolist() == first[0, :2].tolist()
        assert state.placed_gpuh[1, :2, 1].tolist() == first[1, :2].tolist()
        assert state.placed_gpuh.sum() == pytest.approx(first[:, :2].sum())
        assert state.battery_mwh.tolist() == [1.0, 0.0]
        assert not state.backlog_gpuh.any()
        assert not state.peak_import_mw.any()
        assert (state.waiting == 1).all()
        # The first step's sessions are no move.
        p, exo = instance.params, instance.exogenous.map(lambda x: x[0])
        flows = type("F", (), {"served_gpuh": state.placed_gpuh})
        assert not physics.newly_placed_gpuh(p, state, flows, exo).any()  # type: ignore[arg-type]


def test_jobs_of_the_instance_are_named(instances: list[Instance]) -> None:
    assert {i.job_names for i in instances} == {("early", "late"), ("late", "early")}
    for instance in instances:
        early = instance.job_names.index("early")
        assert instance.params.job_gpus[early] == 100
        assert instance.params.job_profile[early].tolist() == [1, 1, 1, 0, 0]


# Guards ---------------------------------------------------------------------------------------------------


def value_of_a_gpuh(i: Instance, t: int, c: int, w: int, k: int, carbon: float) -> float:
    """What serving one GPU-h of a row at a site in a step can earn or save, less its energy, in plain
    loops."""
    p, exo = i.params, i.exogenous
    energy = exo.network_usd_per_mwh[t, k] + carbon
    growth = exo.growth[t + 1, c, w] if t + 1 < i.steps else 0.0
    move = p.relocation_usd_per_gpuh[c, w, k] + p.relocation_mwh_per_gpuh[c, w, k] * energy
    warm = p.warm_usd_per_gpuh[w] + p.warm_mwh_per_gpuh[w] * energy
    pay = p.egress_usd_per_gpuh[c, w, k] + p.network_mwh_per_gpuh[c, w, k] * energy
    return float(p.revenue_usd_per_gpuh[w] + p.drop_usd_per_gpuh[w] + pay + (1 + growth) * move + 2 * warm)


@pytest.mark.parametrize("seed", [0, 8])
def test_last_resorts_cost_more_than_all_that_they_save(seed: int) -> None:
    i = make_batch(small(horizon_h=24.0, jobs=[], dt_h=0.5), [seed])[0]
    p, exo, dt = i.params, i.exogenous, 0.5
    shed, gpu_short = p.shed_usd_per_mwh[0], p.gpu_short_usd_per_gpuh[0]
    assert (p.shed_usd_per_mwh == shed).all()
    per_kg = p.carbon_price_usd_per_kg + float(p.carbon_excess_usd_per_kg)
    most_saved = 0.0
    for t, k in itertools.product(range(i.steps), range(2)):
        kg = max(exo.carbon_marginal_kg_per_mwh[t, k], p.generator_carbon_kg_per_mwh[k])
        water = p.water_price_usd_per_l * (p.site_water_l_per_mwh[k] + p.grid_water_l_per_mwh[k])
        fuel = p.fuel_usd_per_mwh[k] if p.generator_max_mw[k] else 0.0
        short = p.battery_short_usd_per_mwh[k] if p.battery_max_mwh[k] else 0.0
        import_usd = max(exo.buy_usd_per_mwh[t, k], 0.0) + p.demand_charge_usd_per_mw[k] / dt
        saved = import_usd + fuel + kg * per_kg + water + short
        most_saved = max(most_saved, saved)
        assert shed * dt > dt * saved
        extra_mwh = exo.pue[t, k] * (p.busy_kw_per_gpu[k] - p.idle_kw_per_gpu[k]) / 1000
        per_gpuh = extra_mwh / p.speed[k]
        for c, w in itertools.product(range(2), range(3)):
            if not p.route_open[c, w, k]:
                continue
            work = value_of_a_gpuh(i, t, c, w, k, kg * per_kg)
            elsewhere = max(exo.pue[t, m] * 0.9 / 1000 / p.speed[m] for m in range(2)) * saved
            assert shed * dt > dt * (saved + (work + elsewhere) / per_gpuh)
            assert gpu_short > p.speed[k] * (work + elsewhere) + extra_mwh * shed
    assert shed > 1.1 * most_saved


def test_guards_grow_with_each_part() -> None:
    compiled = small()
    batch = make_batch(compiled, [0, 1, 2])
    shed, short = last_resort_prices(batch.params, batch.exogenous)
    dearer = batch.exogenous.replace(buy_usd_per_mwh=batch.exogenous.buy_usd_per_mwh + 100.0)
    assert (last_resort_prices(batch.params, dearer)[0] >= shed + 110).all()
    richer = batch.params.replace(revenue_usd_per_gpuh=batch.params.revenue_usd_per_gpuh + 1)
    least = (batch.exogenous.pue * 0.9 / 1000 / batch.params.speed).min((1, 2))
    assert last_resort_prices(richer, batch.exogenous)[0] == pytest.approx(shed + 1.1 / least)
    assert (last_resort_prices(richer, batch.exogenous)[1] > short).all()
    free = batch.params.replace(carbon_budget_kg=np.array(np.inf))
    assert (last_resort_prices(free, batch.exogenous)[0] < shed).all()


# Batches --------------------------------------------------------------------------------------------------


def test_stack_is_the_inverse_of_taking_apart() -> None:
    batch = make_batch(small(), [3, 1, 4])
    again = stack(batch.instances)
    assert again.seeds == (3, 1, 4)
    assert (again.start_utc == batch.start_utc).all()
    for b in range(3):
        assert equal(again[b], batch[b])
    assert len(again) == 3
    assert equal(batch[-1], batch[2])
    with pytest.raises(IndexError):
        batch[3]


def test_stack_refuses_other_scenarios() -> None:
    with pytest.raises(InstanceError, match="different scenarios"):
        stack([make_batch(small(), [0])[0], make_batch(small(horizon_h=72.0), [0])[0]])
    with pytest.raises(InstanceError, match="at least one"):
        stack([])


@pytest.mark.parametrize("name", ["two_sites", "energy_geography"])
def test_shipped_scenarios_by_name(name: str) -> None:
    instance = make_instance(name, seed=3)
    assert instance.scenario_name == name
    assert instance.steps == instance.scenario.steps
    for site in instance.scenario.sites:
        assert instance.provenance[site.zone].startswith("synthetic")


def test_overrides_reach_the_scenario() -> None:
    instance = make_instance("two_sites", seed=1, forecast="perfect", carbon_price_usd_per_t=99.0)
    assert instance.scenario.forecast.kind == "perfect"
    assert instance.params.carbon_price_usd_per_kg == pytest.approx(0.099)


# Files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Instance, Path]:
    instance = make_batch(small(), [11])[0]
    return instance, instance.save(tmp_path / "a.npz")


def test_round_trip(saved: tuple[Instance, Path]) -> None:
    instance, path = saved
    again = load_instance(path)
    assert equal(instance, again)
    assert again.hash == instance.hash
    assert (again.seed, again.start_utc, again.provenance) == (11, instance.start_utc, instance.provenance)
    assert again.scenario == instance.scenario
    assert again.compiled.hash == instance.compiled.hash
    assert again.forecast.leads == instance.forecast.leads
    for t in (0, 30):
        a, b = exogenous_forecast(instance, t, 12), exogenous_forecast(again, t, 12)
        assert all(np.array_equal(getattr(a, n), getattr(b, n)) for n in Exogenous.names())
    assert [f.name for f in path.parent.iterdir()] == ["a.npz"]


def test_loaded_states_are_states(saved: tuple[Instance, Path]) -> None:
    again = load_instance(saved[1])
    for field in fields(State):
        mine, theirs = getattr(again.initial, field.name), getattr(saved[0].initial, field.name)
        assert np.shape(mine) == np.shape(theirs)


def different(**changes: Any) -> Instance:
    """The same episode with other figures of the first site, or another top-level key."""
    site = {**SMALL["sites"][0], **changes.pop("site", {})}
    return make_batch(small(sites=[site, SMALL["sites"][1]], **changes), [11])[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"site": {"battery": {"capacity_mwh": 2.0, "power_mw": 0.5, "charge_efficiency": 0.5}}},
        {"site": {"battery": {"capacity_mwh": 2.0, "power_mw": 0.5, "wear_usd_per_mwh": 77.0}}},
        {"reward_scale_usd": 7.0},
        {"carbon_budget_kg": 39999.0},
    ],
)
def test_the_hash_covers_the_constants(changes: dict[str, Any]) -> None:
    """Else a plan of one scenario would pass as a plan of another, above its bound."""
    plain, other = different(), different(**changes)
    assert plain.hash == make_batch(small(), [11])[0].hash
    assert equal(plain, other)
    assert plain.hash != other.hash


def test_a_file_of_other_constants_is_refused(saved: tuple[Instance, Path], tmp_path: Path) -> None:
    """A later version may derive other constants from the same scenario; the episode would not be the same."""
    instance, path = saved
    worn = instance.params.replace(wear_usd_per_mwh=instance.params.wear_usd_per_mwh * 2.0)
    other = replace(instance, params=worn)
    assert other.hash != instance.hash
    with pytest.raises(InstanceError, match=r"b\.npz: made by gridai-env .* with constants .* derives"):
        load_instance(other.save(tmp_path / "b.npz"))
    assert read_archive(path)[0]["package_version"] == gridai_env.__version__


def test_a_changed_value_is_refused(saved: tuple[Instance, Path]) -> None:
    _, path = saved
    with np.load(path) as file:
        arrays = {name: file[name].copy() for name in file.files}
    arrays["exogenous/buy_usd_per_mwh"][3, 0] += 1e-9
    np.savez(path, **arrays)
    with pytest.raises(InstanceError, match=r"a\.npz: checksum .* was changed or damaged"):
        load_instance(path)


def test_a_changed_header_is_refused(saved: tuple[Instance, Path]) -> None:
    _, path = saved
    with np.load(path) as file:
        arrays = {name: file[name].copy() for name in file.files}
    header = json.loads(arrays[HEADER].tobytes())
    header["seed"] = 12
    arrays[HEADER] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(InstanceError, match="checksum"):
        load_instance(path)


def test_damaged_and_foreign_files_are_refused(saved: tuple[Instance, Path], tmp_path: Path) -> None:
    _, path = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InstanceError, match="not a readable instance file"):
        load_instance(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    path.write_bytes(bytes(flipped))
    with pytest.raises(InstanceError, match=r"a\.npz"):
        load_instance(path)
    path.write_text("hello")
    with pytest.raises(InstanceError, match="not a readable instance file"):
        load_instance(path)
    np.savez(path, a=np.ones(3))
    with pytest.raises(InstanceError, match="not an instance file"):
        load_instance(path)
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(InstanceError, match="allow_pickle"):
        load_instance(path)
    with pytest.raises(FileNotFoundError):
        load_instance(tmp_path / "none.npz")


def test_another_format_is_refused(saved: tuple[Instance, Path]) -> None:
    _, path = saved
    header, arrays = read_archive(path)
    write_archive(path, {**header, "format_version": 99}, arrays)
    with pytest.raises(InstanceError, match="version 99, but this package reads"):
        load_instance(path)
    arrays.pop("initial/battery_mwh")
    write_archive(path, header, arrays)
    with pytest.raises(InstanceError, match="missing or unknown arrays: initial/battery_mwh"):
        load_instance(path)


def test_the_name_of_a_file_ends_in_npz(tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match=r"must end in \.npz"):
        make_batch(small(), [0])[0].save(tmp_path / "a.dat")


def test_digest_tells_names_types_and_shapes() -> None:
    x = np.arange(6.0)
    assert digest({"a": x}) == digest({"a": x.copy()})
    others = [
        {"b": x},
        {"a": x.astype(np.float32)},
        {"a": x.reshape(2, 3)},
        {"a": x + 1e-12},
        {"a": x, "b": x},
    ]
    assert len({digest(o) for o in [{"a": x}, *others]}) == 6


# Trace files ----------------------------------------------------------------------------------------------


def write_trace(path: Path, first: str, hours: int, usd_per_day: int = 0) -> Path:
    """A trace file with all columns for the two zones of the small scenario; prices may rise by the day."""
    carbon = "carbon_average_kg_per_mwh,carbon_marginal_kg_per_mwh"
    lines = [f"utc,zone,price_usd_per_mwh,{carbon},wetbulb_c,pv_cf,wind_cf"]
    for zone, base in (("DE-LU", 80.0), ("US-CAL-CISO", 50.0)):
        for h in range(hours):
            stamp = np.datetime64(first, "h") + h
            usd = base + h % 24 + usd_per_day * (h // 24)
            lines.append(f"{stamp}:00Z,{zone},{usd},300,{400 + h % 24},{10 + h % 24},0.{h % 10},0.5")
    path.write_text("\n".join(lines))
    return path


def test_real_traces_are_read_and_starts_drawn_in_the_window(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.csv", "2023-05-01T00", 24 * 10)
    compiled = small(traces=str(path), events=[], jobs=[])
    batch = make_batch(compiled, range(40))
    days = sorted({str(s) for s in batch.start_utc})
    assert days == [
        f"2023-05-{d:02d}T00:00" for d in range(2, 10)
    ]  # one day of history before, two days after
    assert "8 valid starts in the scenario's dates" in batch.provenance[0]["start"]
    south = batch[0].exogenous.buy_usd_per_mwh[:, 1]
    assert south.tolist() == [50.0 + h % 24 for h in range(48)]
    assert batch[0].knowledge.history[:, 1].tolist() == [50.0 + h for h in range(24)]
    assert "t.csv" in batch.provenance[0]["DE-LU"]
    assert equal(make_batch(compiled, [7])[0], batch[7])
    assert equal(
        make_instance(small().scenario, seed=3, traces=path), make_instance(small().scenario, 3, str(path))
    )


def test_a_file_gives_the_same_episode_whatever_came_before(tmp_path: Path) -> None:
    """What is kept of a file does not depend on the first episode."""
    path = write_trace(tmp_path / "t.csv", "2023-05-01T00", 24 * 20, usd_per_day=9)

    def made(**changes: Any) -> str:
        return make_batch(small(traces=str(path), forecast={"kind": "day_ahead"}, **changes), [3])[0].hash

    short = {"horizon_h": 24.0, "jobs": [], "start": {"first": "2023-05-03", "last": "2023-05-03"}}
    zone_past.clear()
    fresh, fresh_short = made(), made(**short)
    zone_past.clear()
    assert made(**short) == fresh_short
    assert made() == fresh


def test_a_file_of_another_year_serves_with_its_own_dates(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.csv", "2022-05-01T00", 24 * 6)
    batch = make_batch(small(traces=str(path)), range(5))
    assert all(str(s).startswith("2022-05-0") and str(s).endswith("T00:00") for s in batch.start_utc)
    assert "none of the scenario's dates" in batch.provenance[0]["start"]


def test_a_file_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.csv", "2023-05-01T00", 71)
    with pytest.raises(InstanceError, match="no 72 h in a row without a gap") as error:
        make_batch(small(traces=str(path)), [0])
    assert str(error.value).endswith("; lengthen the file, or use a shorter horizon_h")


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({40: "inf"}, "; correct it, lengthen the file, or"),
        (
            {40: ""},
            "; fill the empty cell, interpolate short gaps with FILE,fill_gap_h=2, lengthen the file, or",
        ),
        (dict.fromkeys(range(72), ""), "; the column carbon_average_kg_per_mwh is empty: fill it, lengthen"),
    ],
)
def test_advice_on_a_file_without_a_start_is_by_the_kind_of_fault(
    tmp_path: Path, values: dict[int, str], advice: str
) -> None:
    path = write_trace(tmp_path / "t.csv", "2023-05-01T00", 72)
    head, *rows = path.read_text().splitlines()
    at = head.split(",").index("carbon_average_kg_per_mwh")
    cells = [row.split(",") for row in rows]
    hours = sorted({row[0] for row in cells})
    for row in cells:
        row[at] = values.get(hours.index(row[0]), row[at])
    path.write_text("\n".join([head, *map(",".join, cells)]))
    with pytest.raises(InstanceError) as error:
        make_batch(small(traces=str(path)), [0])
    assert advice in str(error.value) and "\n" not in str(error.value)


def test_a_stack_keeps_constants_that_were_changed_by_hand() -> None:
    """A restricted instance (here: all work at home) stays restricted in the simulator's batch."""
    free = make_instance("two_sites", seed=0)
    p = free.params
    home = np.array(np.broadcast_to(p.home[:, None, :], p.route_open.shape))
    bound = replace(free, params=p.replace(route_open=home))
    np.testing.assert_array_equal(stack([bound, bound]).params.route_open, home)
    with pytest.raises(InstanceError, match="changed differently"):
        stack([free, bound])
