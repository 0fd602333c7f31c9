"""Episodes whose prices spike more often and higher than calibrated."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra 'gpu'")

import torch

from gridai_env.envs.torch.generate import TorchEpisodeGenerator
from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario, parse_scenario


def prices(spikes: float, count: int = 200) -> torch.Tensor:
    """Prices [B,T,K] of July, when this model's Texas spikes to some hundreds of dollars."""
    data = load_scenario("two_sites").model_dump(mode="json")
    data["start"] = {"first": "2023-07-02", "last": "2023-07-28"}
    compiled = compile_scenario(parse_scenario(data, "july"))
    episodes = TorchEpisodeGenerator(compiled, seed=3, spikes=spikes).draw(count)
    return torch.as_tensor(episodes.exogenous.buy_usd_per_mwh)


def test_the_share_asked_for_spikes_more_often_and_higher() -> None:
    plain, wild, half = prices(0.0), prices(1.0), prices(0.5)
    often = [float((found.amax(1) > 500.0).any(-1).float().mean()) for found in (plain, wild, half)]
    assert often[0] < 0.1 < 0.3 < often[1]
    assert often[0] < often[2] < often[1]

    # Hours without a spike are as ever: the median hour costs about the same.
    assert float(wild.median()) == pytest.approx(float(plain.median()), rel=0.1)
    assert float(wild.amax()) > 2.0 * float(plain.amax())


def test_shares_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"spikes = 1\.5: must be a share"):
        GridAITorchVectorEnv(2, scenario="two_sites", spikes=1.5)
    with pytest.raises(ValueError, match=r"spikes = 0\.5: episodes made on the host have none"):
        GridAITorchVectorEnv(2, scenario="two_sites", spikes=0.5, episodes="host")
