"""An MLP behind a fixed layer that compares sites and standardises observations.

The environment scales observations by constants of the scenario, so prices of two sites may differ by a few
hundredths.  Centre and spread over some training episodes, taken once before training, put every entry on one scale;
both are saved with the weights.

Good decisions depend on differences: where energy and carbon cost least, and when.  An MLP learns to subtract slowly,
so `CostFeatures` appends these differences to the observation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.vec_env.actions import ActiveActions
from gridai_env.arrays.types import Float, Floats32, Int
from gridai_env.observation.layout import CARBON_SCALE_KG_PER_MWH, PRICE_SCALE_USD_PER_MWH, ObservationLayout
from gridai_env.scenario.compile import Compiled

# Floor of the spread: entries that hardly vary would be blown up.
LEAST_SPREAD = 0.02


class CostFeatures(torch.nn.Module):
    """Cost of a MWh of IT load compared between sites and hours, from parts of the flat observation [B,N].

    ``cost[h,k] = PUE[k] * (price[h,k] + carbon price * billed intensity[h,k])`` in 100 USD/MWh; h = 0 is now, the
    others are the leads of the forecast (PUE as of now).  The output, [B, 2*H*K + H], has side by side ``cost[h,k]``
    less its mean over sites; ``cost[h,k]`` less its mean over h; ``min_k cost[h,k]`` less that of now.
    """

    price: Int[torch.Tensor, " H*K"]
    carbon: Int[torch.Tensor, " H*K"]
    pue: Int[torch.Tensor, " K"]

    def __init__(self, price: list[int], carbon: list[int], pue: list[int], carbon_weight: float) -> None:
        """Take the places in the flat observation of price and carbon [H*K] and PUE [K]."""
        super().__init__()
        for name, places in (("price", price), ("carbon", carbon), ("pue", pue)):
            self.register_buffer(name, torch.tensor(places, dtype=torch.long), persistent=False)
        self.carbon_weight = carbon_weight
        sites, times = len(pue), len(price) // len(pue)
        self.size = 2 * times * sites + times

    @staticmethod
    def places(compiled: Compiled) -> dict[str, Any]:
        """Return the arguments of the constructor for a scenario."""
        parts = ObservationLayout(compiled).parts
        where = {name: list(range(part.start, part.stop)) for name, part in parts.items()}
        usd_per_kg = compiled.params.carbon_price_usd_per_kg
        return {
            "price": where["buy_price"] + where.get("forecast_buy_price", []),
            "carbon": where[f"carbon_{compiled.carbon_signal}"] + where.get("forecast_carbon", []),
            "pue": where["pue"],
            "carbon_weight": usd_per_kg * CARBON_SCALE_KG_PER_MWH / PRICE_SCALE_USD_PER_MWH,
        }

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the differences [B, 2*H*K + H]."""
        energy = observations[:, self.price] + self.carbon_weight * observations[:, self.carbon]
        pue = 1.0 + observations[:, self.pue]  # observed less 1
        cost = energy.unflatten(1, (-1, len(self.pue))) * pue[:, None, :]

        least = cost.amin(2)
        over_sites, over_hours = (cost - cost.mean(axis, keepdim=True) for axis in (2, 1))
        return torch.cat([over_sites.flatten(1), over_hours.flatten(1), least - least[:, :1]], dim=1)


class Standardise(BaseFeaturesExtractor):
    """``symlog((x - centre) / spread)``; centre 0 and spread 1 until `fit` is called.

    Prices have rare spikes a hundred times their usual spread.  Centre and spread are therefore quantiles, and symlog
    (``sign(z) * log(1 + |z|)``: linear near 0, logarithmic far out) keeps ordinary hours and spikes distinct.
    ``kept``: the entries of the observation that x begins with, e.g. those that ever change; None: all.
    ``costs``: arguments of `CostFeatures`, whose output is appended; None appends nothing.
    """

    kept: Int[torch.Tensor, " kept"]
    centre: Float[torch.Tensor, " F"]
    scale: Float[torch.Tensor, " F"]

    def __init__(
        self,
        observation_space: spaces.Box,
        kept: list[int] | None = None,
        costs: dict[str, Any] | None = None,
    ) -> None:
        derived = None if costs is None else CostFeatures(**costs)
        places = list(range(int(np.prod(observation_space.shape)))) if kept is None else kept
        size = len(places) + (0 if derived is None else derived.size)
        super().__init__(observation_space, features_dim=size)
        self.derived = derived
        self.register_buffer("kept", torch.tensor(places, dtype=torch.long), persistent=False)
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def fit(self, observations: Float[Floats32, "n N"]) -> None:
        """Take centre and spread from observations; entries that never change become 0.

        The spread is half the distance of the 16 % and 84 % quantiles (the standard deviation of a normal), or the
        standard deviation of an entry that rarely changes.
        """
        values = self._extended(torch.as_tensor(observations, device=self.centre.device)).cpu().numpy()
        low, centre, high = np.quantile(values, (0.16, 0.5, 0.84), axis=0)
        spread = np.where(high > low, (high - low) / 2.0, values.std(0))
        scale = 1.0 / np.maximum(spread, LEAST_SPREAD)
        self.centre.copy_(torch.as_tensor(centre))
        self.scale.copy_(torch.as_tensor(scale))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the standardised observations, cost features included."""
        values = (self._extended(observations) - self.centre) * self.scale
        return torch.log1p(values.abs()).copysign(values)

    def _extended(self, observations: torch.Tensor) -> torch.Tensor:
        kept = observations[:, self.kept]
        return kept if self.derived is None else torch.cat([kept, self.derived(observations)], dim=1)


class ActivePolicy(ActorCriticPolicy):
    """SB3's actor-critic policy with the entries of the environment's action that it sets.

    ``active``: from `agents.vec_env.actions.ActiveActions.as_dict`; it is saved with the weights.
    """

    def __init__(self, *args: Any, active: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actions = ActiveActions.read(active)  # how the numbers become actions of the environment

    def judge(self, features: torch.Tensor) -> tuple[Distribution, torch.Tensor]:
        """Return the distribution of the numbers, and the values [B,1], for features [B,F] of `extract_features`."""
        latent_pi, latent_vf = self.mlp_extractor(features)
        return self._get_action_dist_from_latent(latent_pi), self.value_net(latent_vf)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"active": self.actions.as_dict()}
