"""The newest forecast issued for each of the coming steps.

An observation shows forecasts at a few leads.  Forecasts for the hours between stood in earlier observations; a planner
remembers them, and so does the agent.  For steps without a forecast yet it takes the climatology (of zone, month and
hour of the week) plus the anomaly of the forecasts around, interpolated.

The memory [B,M] is appended to the observation, so that the network itself has no state.  Its features, F of them, are
price with carbon [K], renewables [K] and arrivals [C]; its last entry is the age in steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gridai_env.arrays.types import Bool, Float, Floats, Floats32
from gridai_env.episodes.instance import make_batch
from gridai_env.observation.decode import parts_in_units
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario, once_per_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.terms import energy_usd_per_mwh

FORECASTS = ("forecast_buy_price", "forecast_carbon", "forecast_renewable", "forecast_arrivals")
WEEK_H = 168
MONTHS = 12
# Beyond the last forecast within the episode, half of the anomaly is taken to persist.
FADED = 0.5
# A Monday in the middle of each month, of an arbitrary year.
MONDAYS = tuple(
    np.datetime64(f"2023-{month:02d}-{day:02d}T00:00", "m")
    for month, day in zip(range(1, 13), (16, 13, 13, 17, 15, 12, 17, 14, 18, 16, 13, 18), strict=True)
)


class ForecastMemory:
    """The memory of forecasts in one scenario, on any device."""

    def __init__(self, compiled: Compiled) -> None:
        self.layout = ObservationLayout(compiled)
        self.leads = compiled.forecast.lead_steps
        self.steps = self.leads[-1]
        self.width = 2 * compiled.shape.sites + compiled.shape.regions
        self.size = self.steps * self.width + 1
        self._signal = f"carbon_{compiled.carbon_signal}"
        self._usd_per_kg = compiled.params.carbon_price_usd_per_kg
        self._scale = torch.as_tensor(self.layout.scales, dtype=torch.float32)
        self._offset = torch.as_tensor(self.layout.offsets, dtype=torch.float32)
        self._climatology = torch.as_tensor(weekly_climatology(compiled), dtype=torch.float32)
        self._between = torch.as_tensor(_interpolation((0, *self.leads)), dtype=torch.float32)

        # Age in steps from which a coming step has been at one of the leads, so that it has a forecast.
        ahead = np.arange(1, self.steps + 1)
        missing = np.array([min(lead - h for lead in self.leads if lead >= h) for h in ahead])
        self._first_age = torch.as_tensor(missing, dtype=torch.float32)
        self._at = torch.tensor(self.leads) - 1
        self._known = torch.tensor((0, *self.leads))

    def to(self, device: torch.device | str) -> ForecastMemory:
        """Move the constants to a device and return the memory itself."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

    def blank(self, count: int) -> Tensor:
        """Return a memory [count,M] before the first observation; `update` treats it like None."""
        memory = torch.zeros(count, self.size, device=self._scale.device)
        memory[:, -1] = -1.0
        return memory

    def curves(self, remembered: Float[Tensor, "B M"]) -> Float[Tensor, "B 1+steps F"]:
        """Return the foreseen steps in a memory; the first, the present, is 0."""
        ahead = remembered[:, :-1].unflatten(1, (self.steps, self.width))
        return torch.nn.functional.pad(ahead, (0, 0, 1, 0))

    def update(
        self,
        memory: Float[Tensor, "B M"] | None,
        observation: Float[Tensor, "B N"],
        fresh: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B M"]:
        """Return the memory after an observation.

        ``memory``: that after the observation before (None: there was none); ``fresh``: rows where an episode has
        just begun.
        """
        part = self.parts(observation)
        issued = self.issued(part)
        guess = self._guess(part, issued)

        if memory is None:
            known, age = guess, torch.zeros_like(observation[:, 0])
        else:
            before = memory[:, :-1].unflatten(1, (self.steps, self.width))
            known = torch.cat([before[:, 1:], guess[:, -1:]], 1)
            age = (memory[:, -1] + 1.0).clamp_max(float(self.steps))
            if fresh is not None:
                age = torch.where(fresh, 0.0, age)

        had_forecast = (self._first_age <= age[:, None])[..., None]
        now = torch.where(had_forecast, known, guess).index_copy(1, self._at, issued)
        return torch.cat([now.flatten(1), age[:, None]], 1)

    def along(self, observations: Float[Tensor, "n N"], lengths: Sequence[int]) -> Float[Tensor, "n M"]:
        """Return the memories along whole episodes of these lengths, one episode after the other."""
        # Side by side, filled up to the longest: one update per step for all episodes.
        episodes = observations.split(list(lengths))
        longest = max(lengths)
        padded = torch.stack([_padded(episode, longest) for episode in episodes])

        memory: Tensor | None = None
        found = []
        for step in range(longest):
            memory = self.update(memory, padded[:, step])
            found.append(memory)

        rows = torch.stack(found, 1)
        return torch.cat([row[:length] for row, length in zip(rows, lengths, strict=True)])

    def parts(self, observation: Float[Tensor, "B N"]) -> dict[str, Tensor]:
        """Return the remembered parts of an observation and its clock, in units and in their shapes."""
        named = (*FORECASTS, "buy_price", self._signal, "renewable", "arrivals", "clock", "steps_left")
        return parts_in_units(self.layout, observation, self._scale, self._offset, named)

    def issued(self, part: dict[str, Tensor]) -> Float[Tensor, "B H F"]:
        """Return the forecasts in an observation."""
        price, carbon, renewable, arrivals = (part[name] for name in FORECASTS)
        return torch.cat([energy_usd_per_mwh(price, carbon, self._usd_per_kg), renewable, arrivals], -1)

    def present(self, part: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Return the present values of what is remembered."""
        price = energy_usd_per_mwh(part["buy_price"], part[self._signal], self._usd_per_kg)
        return torch.cat([price, part["renewable"], part["arrivals"].sum(-1)], -1)

    def _guess(self, part: dict[str, Tensor], issued: Float[Tensor, "B H F"]) -> Float[Tensor, "B steps F"]:
        """Return climatology plus the interpolated anomaly of the forecasts, for each coming step."""
        usual = self.climatology(part["clock"])
        known = torch.cat([self.present(part)[:, None], issued], 1)
        anomaly = known - usual.index_select(1, self._known)

        left = part["steps_left"]
        seen = [anomaly[:, 0]]
        for i, lead in enumerate(self.leads):
            seen.append(torch.where(left > lead, anomaly[:, i + 1], FADED * seen[-1]))
        return usual[:, 1:] + self._between @ torch.stack(seen, 1)

    def climatology(self, clock: Float[Tensor, "B 6"]) -> Float[Tensor, "B 1+steps F"]:
        """Return the climatology of now and of the coming steps; ``clock``: the part of that name."""
        # Sine and cosine of the hour of the week and of the day of the year, back to a share of the period.
        week = torch.remainder(torch.atan2(clock[:, 2], clock[:, 3]) / (2.0 * np.pi), 1.0)
        year = torch.remainder(torch.atan2(clock[:, 4], clock[:, 5]) / (2.0 * np.pi), 1.0)

        steps = self._climatology.shape[1]
        ahead = torch.arange(self.steps + 1, device=clock.device)
        at = ((week * steps).round().long()[:, None] + ahead) % steps
        month = (year * MONTHS).long().clamp(0, MONTHS - 1)
        return self._climatology[month[:, None], at]


def _padded(episode: Tensor, length: int) -> Tensor:
    """Return an episode [T,N] with its last observation repeated up to ``length``."""
    return torch.cat([episode, episode[-1:].expand(length - len(episode), -1)])


@once_per_scenario
def weekly_climatology(compiled: Compiled) -> Float[Floats32, "12 steps F"]:
    """Return the expected price with carbon, renewables and arrivals by month and step of the week (UTC).

    From the calibration of the zones and the shape of the demand, whatever traces are played.
    """
    plain = load_scenario(compiled.scenario, horizon_h=float(WEEK_H), traces="synthetic", demand="synthetic")
    week = compile_scenario(plain)
    sites, usd_per_kg = week.shape.sites, week.params.carbon_price_usd_per_kg

    weeks = []
    for monday in MONDAYS:
        series = make_batch(week, [0], start=monday).knowledge.climatology[0]
        price = energy_usd_per_mwh(series[:, :sites], series[:, sites : 2 * sites], usd_per_kg)
        weeks.append(np.concatenate([price, series[:, 2 * sites :]], axis=-1))
    return np.stack(weeks)


def _interpolation(at: tuple[int, ...]) -> Float[Floats, "steps H+1"]:
    """Return the weights of values known at the steps ``at`` (0 first), linear in between."""
    steps = np.arange(1, at[-1] + 1)
    return np.stack([np.interp(steps, at, np.eye(len(at))[i]) for i in range(len(at))], axis=-1)
