"""Episodes whose prices spike more often and higher than calibrated."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra 'gpu'")

import torch

from gridai_env.envs.torch.generate import TorchEpisodeGenerator
from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario, parse_scenario


def prices(spikes: float = 0.0, count: int = 200, shortages: float = 0.0) -> torch.Tensor:
    """Prices [B,T,K] of July, when this model's Texas spikes to some hundreds of dollars."""
    data = load_scenario("two_sites").model_dump(mode="json")
    data["start"] = {"first": "2023-07-02", "last": "2023-07-28"}
    compiled = compile_scenario(parse_scenario(data, "july"))
    episodes = TorchEpisodeGenerator(compiled, seed=3, spikes=spikes, shortages=shortages).draw(count)
    return torch.as_tensor(episodes.exogenous.buy_usd_per_mwh)


def test_the_share_asked_for_spikes_more_often_and_higher() -> None:
    plain, wild, half = prices(0.0), prices(1.0), prices(0.5)
    often = [float((found.amax(1) > 500.0).any(-1).float().mean()) for found in (plain, wild, half)]
    assert often[0] < 0.1 < 0.3 < often[1]
    assert often[0] < often[2] < often[1]

    # Hours without a spike are as ever: the median hour costs about the same.
    assert float(wild.median()) == pytest.approx(float(plain.median()), rel=0.1)
    assert float(wild.amax()) > 2.0 * float(plain.amax())


def test_the_share_asked_for_is_short_of_power_for_hours() -> None:
    def short(found: torch.Tensor) -> torch.Tensor:  # hours at one level, far above what is usual
        flat = (found[:, 1:] == found[:, :-1]) & (found[:, 1:] >= 500.0)
        return flat.sum(1)  # [B,K]

    assert not short(prices()).any()
    wild = prices(0.5, 2000, shortages=0.1)
    hours = short(wild)
    is_short = hours > 0
    # Some lie in the day before the episode alone; two zones at once are rare.
    assert 0.07 < float(is_short.any(1).float().mean()) < 0.105
    assert 0.4 < float(is_short[:, 0].float().mean() / is_short.float().mean()) / 2.0 < 0.6
    assert int(hours.max()) == 23 and 15.0 < float(hours[is_short].float().mean()) < 23.0

    levels = wild.amax(1)[is_short]
    assert float(levels.min()) >= 500.0 and 8_000.0 < float(levels.max()) <= 10_100.0
    assert 1_600.0 < float(levels.median()) < 3_200.0  # evenly in the logarithm


def test_shares_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"spikes = 1\.5: must be a share"):
        GridAITorchVectorEnv(2, scenario="two_sites", spikes=1.5)
    with pytest.raises(ValueError, match=r"shortages = -0\.1: must be a share"):
        GridAITorchVectorEnv(2, scenario="two_sites", shortages=-0.1)
    with pytest.raises(ValueError, match=r"spikes = 0\.5: episodes made on the host have none"):
        GridAITorchVectorEnv(2, scenario="two_sites", spikes=0.5, episodes="host")
    with pytest.raises(ValueError, match=r"shortages = 0\.1: episodes made on the host have none"):
        GridAITorchVectorEnv(2, scenario="two_sites", shortages=0.1, episodes="host")
