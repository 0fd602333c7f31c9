"""Episodes of a quarter-hour file of zones that nobody calibrated, with price and average carbon alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import make_batch
from gridai_env.files import InstanceError
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario
from tests.support.own_world import write_world

DAYS = 4
QUARTERS = 96 * DAYS
PRICES = {
    zone: np.round(60 + level + 30 * np.sin(np.arange(QUARTERS) / 15.3) + np.arange(QUARTERS) * 7 % 11, 2)
    for zone, level in (("NORTH", 0.0), ("SOUTH", 20.0))
}
HEADER = "utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh"


def own(folder: Path, dt_h: float, **changes: Any) -> Compiled:
    """Two zones from 2024-02-28 on, over 29 February."""
    stamps = np.datetime64("2024-02-28T00:00") + np.arange(QUARTERS) * np.timedelta64(15, "m")
    rows = [
        f"{stamp}Z,{zone},{prices[i]},{200 + i % 50}"
        for zone, prices in PRICES.items()
        for i, stamp in enumerate(stamps)
    ]
    (folder / "q.csv").write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return compile_scenario(load_scenario(write_world(folder, traces="q.csv", dt_h=dt_h, **changes)))


@pytest.mark.parametrize("dt_h", [0.25, 1.0])
def test_each_step_sees_the_prices_of_its_quarters(tmp_path: Path, dt_h: float) -> None:
    compiled = own(tmp_path, dt_h)
    batch = make_batch(compiled, [0, 1, 2])
    quarters = round(dt_h * 4)
    first = (batch.start_utc - np.datetime64("2024-02-28T00:00", "m")).astype(int) // 15
    at = first[:, None] + np.arange(24)
    for k, prices in enumerate(PRICES.values()):
        means = prices[at].reshape(3, -1, quarters).mean(-1)
        np.testing.assert_allclose(batch.exogenous.buy_usd_per_mwh[:, :, k], means, rtol=1e-12)
    carbon = batch.exogenous.carbon_average_kg_per_mwh
    np.testing.assert_array_equal(batch.exogenous.carbon_marginal_kg_per_mwh, carbon)
    np.testing.assert_array_equal(batch.exogenous.pue, np.broadcast_to(compiled.sites.pue_base, carbon.shape))
    assert not batch.exogenous.renewable_available_mw.any()
    assert f"rows of 15 min{', averaged to 60 min' * (dt_h == 1)});" in batch.provenance[0]["NORTH"]
    alone = make_batch(compiled, [1])
    np.testing.assert_array_equal(alone.exogenous.buy_usd_per_mwh[0], batch.exogenous.buy_usd_per_mwh[1])


@pytest.mark.parametrize("dt_h", [0.25, 1.0])
def test_tensors_and_arrays_play_the_same_episodes(tmp_path: Path, dt_h: float) -> None:
    pytest.importorskip("torch", reason="extra `train` is not installed")
    from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv

    scenario = own(tmp_path, dt_h).scenario
    arrays = GridAIVectorEnv(2, scenario=scenario, flat_observations=True)
    tensors = GridAITorchVectorEnv(
        2, scenario=scenario, flat_observations=True, episodes="host", dtype="float64"
    )
    (shown, _), (shown_t, _) = arrays.reset(seed=[3, 4]), tensors.reset(seed=[3, 4])
    assert np.isfinite(shown).all()
    np.testing.assert_allclose(shown_t, shown, atol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(round(6 / dt_h)):
        action = rng.uniform(-1, 1, arrays.action_space.shape).astype(np.float32)
        reward, reward_t = arrays.step(action)[1], tensors.step(action)[1]
        np.testing.assert_allclose(reward_t, reward, rtol=1e-5, atol=1e-9)


def test_the_window_names_its_own_first_bad_row(tmp_path: Path) -> None:
    """A start that is given is not answered with what lies elsewhere in the file."""
    compiled = own(tmp_path, 1.0)
    path = tmp_path / "q.csv"
    lines = path.read_text().split("\n")
    for row in (1, 200):
        lines[1 + row] = lines[1 + row].rsplit(",", 1)[0] + ",inf"
    path.write_text("\n".join(lines))
    bad = np.datetime64("2024-02-28T00:00") + np.timedelta64(200 * 15, "m")
    with pytest.raises(
        ValueError, match=f"'NORTH', {bad}Z: carbon_average_kg_per_mwh = inf .*choose another window"
    ):
        make_batch(compiled, [0], start=bad.astype("datetime64[h]"))
    assert make_batch(compiled, [0], start="2024-02-29T06:00")


@pytest.mark.parametrize(("size", "column"), [("pv_mw", "pv_cf"), ("wind_mw", "wind_cf")])
def test_sun_and_wind_need_their_column(tmp_path: Path, size: str, column: str) -> None:
    sites = [site.model_dump() for site in own(tmp_path, 1.0).scenario.sites]
    sites[0][size] = 0.5
    compiled = own(tmp_path, 1.0, sites=sites)
    for start in (None, "2024-02-29T06:00"):
        with pytest.raises(
            InstanceError, match=f"'NORTH' has no column {column} .*site 'north' has {size} = 0.5; add"
        ):
            make_batch(compiled, [0], start=start)
