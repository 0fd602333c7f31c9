"""What forecasts said: the newest one issued for each of the coming steps.

An observation shows forecasts at a few leads.  What was issued for the hours between them stood in earlier
observations; a planner remembers it, and so does the agent.  Of steps for which nothing was issued yet it knows what
is usual there (the climatology of zone, month and hour) and how far the forecasts around stray from that.

The memory [B,M] is appended to the observation, so the network itself stays without a state.  Its features, F of them:
price with carbon [K], renewables [K], arrivals [C]; its last entry is the age in steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gridai_env.episodes.instance import make_batch
from gridai_env.observation.decode import parts_in_units
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario, once_per_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.terms import energy_usd_per_mwh

FORECASTS = ("forecast_buy_price", "forecast_carbon", "forecast_renewable", "forecast_arrivals")
WEEK_H = 168
MONTHS = 12
# Beyond the last forecast within the episode, what strays from the usual is taken to be half.
FADED = 0.5
# A Monday in the middle of each month; the year is any.
MONDAYS = tuple(
    np.datetime64(f"2023-{month:02d}-{day:02d}T00:00", "m")
    for month, day in zip(range(1, 13), (16, 13, 13, 17, 15, 12, 17, 14, 18, 16, 13, 18), strict=True)
)


class ForecastMemory:
    """Remembers the forecasts of one scenario, on any device."""

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
        self._usual = torch.as_tensor(usual_week(compiled), dtype=torch.float32)
        self._between = torch.as_tensor(_interpolation((0, *self.leads)), dtype=torch.float32)
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
        """A memory [count,M] before the first observation: `update` makes of it what it makes of None."""
        memory = torch.zeros(count, self.size, device=self._scale.device)
        memory[:, -1] = -1.0
        return memory

    def curves(self, remembered: Tensor) -> Tensor:
        """The memory [B,M] as foreseen steps [B,1+steps,F]; the first, the present, is 0."""
        ahead = remembered[:, :-1].unflatten(1, (self.steps, self.width))
        return torch.nn.functional.pad(ahead, (0, 0, 1, 0))

    def update(self, memory: Tensor | None, observation: Tensor, fresh: Tensor | None = None) -> Tensor:
        """Return the memory [B,M] after an observation [B,N].

        ``memory`` is that after the observation before (None: there was none); ``fresh`` [B] bool: rows where an
        episode has just begun.
        """
        part = self._parts(observation)
        issued = self._issued(part)
        guess = self._guess(part, issued)
        if memory is None:
            known, age = guess, torch.zeros_like(observation[:, 0])
        else:
            before = memory[:, :-1].unflatten(1, (self.steps, self.width))
            known = torch.cat([before[:, 1:], guess[:, -1:]], 1)
            age = (memory[:, -1] + 1.0).clamp_max(float(self.steps))
            if fresh is not None:
                age = torch.where(fresh, 0.0, age)
        said = (self._first_age <= age[:, None])[..., None]
        now = torch.where(said, known, guess).index_copy(1, self._at, issued)
        return torch.cat([now.flatten(1), age[:, None]], 1)

    def along(self, observations: Tensor, lengths: Sequence[int]) -> Tensor:
        """The memories [n,M] along whole episodes of observations [n,N], one episode after the other."""
        episodes = observations.split(list(lengths))
        longest = max(lengths)
        padded = torch.stack([_padded(episode, longest) for episode in episodes])
        memory: Tensor | None = None
        found = []
        for step in range(longest):
            memory = self.update(memory, padded[:, step])
            found.append(memory)
        whole = torch.stack(found, 1)
        return torch.cat([row[:length] for row, length in zip(whole, lengths, strict=True)])

    def _parts(self, observation: Tensor) -> dict[str, Tensor]:
        """The parts of an observation [B,N] that are remembered or tell the time, in units and in their shapes."""
        named = (*FORECASTS, "buy_price", self._signal, "renewable", "arrivals", "clock", "steps_left")
        return parts_in_units(self.layout, observation, self._scale, self._offset, named)

    def _issued(self, part: dict[str, Tensor]) -> Tensor:
        """The forecasts in an observation, [B,H,F]."""
        price, carbon, renewable, arrivals = (part[name] for name in FORECASTS)
        return torch.cat([energy_usd_per_mwh(price, carbon, self._usd_per_kg), renewable, arrivals], -1)

    def _now(self, part: dict[str, Tensor]) -> Tensor:
        """The present of what is remembered, [B,F]."""
        price = energy_usd_per_mwh(part["buy_price"], part[self._signal], self._usd_per_kg)
        return torch.cat([price, part["renewable"], part["arrivals"].sum(-1)], -1)

    def _guess(self, part: dict[str, Tensor], issued: Tensor) -> Tensor:
        """What is usual, and what forecasts say of the difference, for each coming step [B,steps,F]."""
        usual = self._usual_from(part["clock"])
        anomaly = torch.cat([self._now(part)[:, None], issued], 1) - usual.index_select(1, self._known)
        left = part["steps_left"]
        seen = [anomaly[:, 0]]
        for i, lead in enumerate(self.leads):
            seen.append(torch.where(left > lead, anomaly[:, i + 1], FADED * seen[-1]))
        return usual[:, 1:] + self._between @ torch.stack(seen, 1)

    def _usual_from(self, clock: Tensor) -> Tensor:
        """What is usual now and in the coming steps, [B,1+steps,F]."""
        week = torch.remainder(torch.atan2(clock[:, 2], clock[:, 3]) / (2.0 * np.pi), 1.0)
        year = torch.remainder(torch.atan2(clock[:, 4], clock[:, 5]) / (2.0 * np.pi), 1.0)
        steps = self._usual.shape[1]
        ahead = torch.arange(self.steps + 1, device=clock.device)
        at = ((week * steps).round().long()[:, None] + ahead) % steps
        month = (year * MONTHS).long().clamp(0, MONTHS - 1)
        return self._usual[month[:, None], at]


def _padded(episode: Tensor, length: int) -> Tensor:
    """An episode [T,N] with its last observation repeated up to ``length``."""
    return torch.cat([episode, episode[-1:].expand(length - len(episode), -1)])


@once_per_scenario
def usual_week(compiled: Compiled) -> np.ndarray:
    """The usual price with carbon, renewables and arrivals by month and step of the week (UTC), [12,steps,F].

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


def _interpolation(at: tuple[int, ...]) -> np.ndarray:
    """Weights [steps,len(at)] of values known at the steps ``at`` (0 first), linear in between."""
    steps = np.arange(1, at[-1] + 1)
    return np.stack([np.interp(steps, at, np.eye(len(at))[i]) for i in range(len(at))], axis=-1)
