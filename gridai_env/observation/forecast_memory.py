"""The newest forecast issued for each of the coming steps.

An observation shows forecasts at a few leads.  Forecasts for the hours between stood in earlier observations; a planner
remembers them, and so does the agent.  For steps without a forecast yet it takes the climatology (of zone, month and
hour of the week) plus the anomaly of the forecasts around, interpolated.

The memory [B,M] is appended to the observation, so that the network itself has no state.  Its features, F of them, are
price with carbon [K], renewables [K] and arrivals [C]; its last entry is the age in steps.  Observations are NumPy
arrays or tensors; so are their memories.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from gridai_env.arrays.ops import Constants, namespace, product, to_int64
from gridai_env.arrays.types import Array, Bool, Float, Floats, Floats32, Index
from gridai_env.episodes.instance import make_batch
from gridai_env.observation.decode import parts_in_units
from gridai_env.observation.layout import BOUND, ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario, once_per_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.traces import known_zones
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
    """What is remembered of forecasts in one scenario; it has no state of its own."""

    def __init__(self, compiled: Compiled) -> None:
        self.layout = ObservationLayout(compiled)
        self.leads = compiled.forecast.lead_steps
        self.steps = self.leads[-1]
        self.width = 2 * compiled.shape.sites + compiled.shape.regions
        self.size = self.steps * self.width + 1
        self._signal = f"carbon_{compiled.carbon_signal}"
        self._usd_per_kg = compiled.params.carbon_price_usd_per_kg

        # Age in steps from which a coming step has been at one of the leads, so that it has a forecast.
        ahead = np.arange(1, self.steps + 1)
        missing = [min(lead - h for lead in self.leads if lead >= h) for h in ahead]
        self._constants = Constants(
            scale=self.layout.scales.astype(np.float32),
            offset=self.layout.offsets.astype(np.float32),
            climatology=weekly_climatology(compiled),
            between=_interpolation((0, *self.leads)).astype(np.float32),
            first_age=np.array(missing, dtype=np.float32),
            is_lead=np.isin(ahead, self.leads)[:, None],
            lead_of=np.searchsorted(self.leads, ahead),
            known=np.array((0, *self.leads)),
            ahead=np.arange(self.steps + 1),
        )

    def space(self, observed: spaces.Box) -> spaces.Box:
        """Return the space of observations [N] with what is remembered behind them."""
        more = np.full(self.size, BOUND, dtype=np.float32)
        low, high = np.concatenate([observed.low, -more]), np.concatenate([observed.high, more])
        return spaces.Box(low, high, dtype=np.float32)

    def _ahead(self, memory: Float[Array, "B M"]) -> Float[Array, "B steps F"]:
        return memory[:, :-1].reshape(-1, self.steps, self.width)

    def curves(self, remembered: Float[Array, "B M"]) -> Float[Array, "B 1+steps F"]:
        """Return the foreseen steps in a memory; the first, the present, is 0."""
        xp, ahead = namespace(remembered), self._ahead(remembered)
        return xp.concatenate([xp.zeros_like(ahead[:, :1]), ahead], 1)

    def update(
        self,
        memory: Float[Array, "B M"] | None,
        observation: Float[Array, "B N"],
        fresh: Bool[Array, " B"] | None = None,
    ) -> Float[Array, "B M"]:
        """Return the memory after an observation.

        ``memory``: that after the observation before (None: there was none); ``fresh``: rows where an episode has
        just begun.
        """
        c, xp = self._constants.beside(observation), namespace(observation)
        part = self.parts(observation)
        issued = self.issued(part)
        guess = self._guess(part, issued)

        age = xp.zeros_like(observation[:, 0])
        if memory is None:
            known = guess
        else:
            known = xp.concatenate([self._ahead(memory)[:, 1:], guess[:, -1:]], 1)
            older = xp.minimum(memory[:, -1] + 1.0, float(self.steps))
            age = older if fresh is None else xp.where(fresh, age, older)

        had_forecast = (c.first_age <= age[:, None])[..., None]
        kept = xp.where(had_forecast, known, guess)
        now = xp.where(c.is_lead, xp.take(issued, c.lead_of, 1), kept)
        return xp.concatenate([now.reshape(-1, self.steps * self.width), age[:, None]], 1)

    def parts(self, observation: Float[Array, "B N"]) -> dict[str, Array]:
        """Return the remembered parts of an observation and its clock, in units and in their shapes."""
        c = self._constants.beside(observation)
        named = (*FORECASTS, "buy_price", self._signal, "renewable", "arrivals", "clock", "steps_left")
        return parts_in_units(self.layout, observation, c.scale, c.offset, named)

    def issued(self, part: dict[str, Array]) -> Float[Array, "B H F"]:
        """Return the forecasts in an observation."""
        price, carbon, renewable, arrivals = (part[name] for name in FORECASTS)
        dear = energy_usd_per_mwh(price, carbon, self._usd_per_kg)
        return namespace(price).concatenate([dear, renewable, arrivals], -1)

    def present(self, part: dict[str, Array]) -> Float[Array, "B F"]:
        """Return the present values of what is remembered."""
        price = energy_usd_per_mwh(part["buy_price"], part[self._signal], self._usd_per_kg)
        return namespace(price).concatenate([price, part["renewable"], part["arrivals"].sum(-1)], -1)

    def _guess(self, part: dict[str, Array], issued: Float[Array, "B H F"]) -> Float[Array, "B steps F"]:
        """Return climatology plus the interpolated anomaly of the forecasts, for each coming step."""
        c, xp = self._constants.beside(issued), namespace(issued)
        usual = self.climatology(part["clock"])
        known = xp.concatenate([self.present(part)[:, None], issued], 1)
        anomaly = known - xp.take(usual, c.known, 1)

        left = part["steps_left"]
        seen = [anomaly[:, 0]]
        for i, lead in enumerate(self.leads):
            seen.append(xp.where(left > lead, anomaly[:, i + 1], FADED * seen[-1]))
        return usual[:, 1:] + product(c.between, xp.stack(seen, 1))

    def climatology(self, clock: Float[Array, "B 6"]) -> Float[Array, "B 1+steps F"]:
        """Return the climatology of now and of the coming steps; ``clock``: the part of that name."""
        # Sine and cosine of the hour of the week and of the day of the year, back to a share of the period.
        c, xp = self._constants.beside(clock), namespace(clock)
        week = xp.remainder(xp.arctan2(clock[:, 2], clock[:, 3]) / (2.0 * np.pi), 1.0)
        year = xp.remainder(xp.arctan2(clock[:, 4], clock[:, 5]) / (2.0 * np.pi), 1.0)

        steps = c.climatology.shape[1]
        at = (to_int64(xp.floor(week * steps + 0.5))[:, None] + c.ahead) % steps
        month = xp.clip(to_int64(year * MONTHS), 0, MONTHS - 1)
        return c.climatology[month[:, None], at]


class ObservationMemory:
    """The memory of a batch of episodes; without a memory, observations pass as they are."""

    def __init__(self, memory: ForecastMemory | None) -> None:
        self.memory = memory
        self.state: Float[Array, "B M"] | None = None

    @property
    def size(self) -> int:
        """Number of entries appended, M."""
        return 0 if self.memory is None else self.memory.size

    def begin(
        self, observation: Float[Array, "B N"], only: Bool[Array, " B"] | None = None
    ) -> Float[Array, "B N+M"]:
        """Return the first observations of episodes that begin now: all, or ``only`` these, beside others."""
        before, self.state = self.state, None
        seen = self.go_on(observation, None)
        if only is None or before is None or self.memory is None:
            return seen
        xp = namespace(observation)
        self.state = xp.where(_beside(only, observation)[:, None], self.state, before)
        return xp.concatenate([observation, self.state], 1)

    def go_on(
        self, observation: Float[Array, "B N"], fresh: Bool[Array, " B"] | None
    ) -> Float[Array, "B N+M"]:
        """Return the next observations; ``fresh``: episodes that begin with them."""
        if self.memory is None:
            return observation
        # In most steps no episode begins, and an empty mask would cost a copy to the device.
        begun = _beside(fresh, observation) if fresh is not None and fresh.any() else None
        self.state = self.memory.update(self.state, _fixed(observation), begun)
        return namespace(observation).concatenate([observation, self.state], 1)

    def last(self, observation: Float[Array, "n N"], rows: Index) -> Float[Array, "n N+M"]:
        """Return the last observations of the episodes ``rows``, before the next ones begin."""
        if self.memory is None:
            return observation
        assert self.state is not None
        after = self.memory.update(self.state[_beside(rows, self.state)], _fixed(observation))
        return namespace(observation).concatenate([observation, after], 1)


def _beside(x: Array, like: Array) -> Array:
    return x if isinstance(like, np.ndarray) else namespace(like).moved(x, like.device)


def _fixed(x: Array) -> Array:
    """Return ``x`` without its gradients: what is remembered does not depend on the actions."""
    return x if isinstance(x, np.ndarray) else x.detach()


@once_per_scenario
def weekly_climatology(compiled: Compiled) -> Float[Floats32, "12 steps F"]:
    """Return the expected price with carbon, renewables and arrivals by month and step of the week (UTC).

    From the calibration of the zones and the shape of the demand, whatever traces are played.  Price and renewables
    of a zone without calibration are 0: what lies between its forecasts is then interpolated alone.
    """
    calibrated = np.array([zone in known_zones() for zone in compiled.sites.zones])[compiled.sites.zone_index]
    # Lines, and generators that run while they are called, have no part in it, and want episodes of some length.
    plain_site: dict[str, Any] = {"lines": [], "generator": None}
    stand_in = [
        site.model_copy(update=plain_site | ({} if is_known else {"zone": known_zones()[0]}))
        for site, is_known in zip(compiled.scenario.sites, calibrated, strict=True)
    ]
    drawn = compiled.scenario.model_copy(update={"sites": stand_in, "constraint": None})
    plain = load_scenario(drawn, horizon_h=float(WEEK_H), traces="synthetic", demand="synthetic")
    week = compile_scenario(plain)
    sites, usd_per_kg = week.shape.sites, week.params.carbon_price_usd_per_kg

    weeks = []
    for monday in MONDAYS:
        series = make_batch(week, [0], start=monday).knowledge.climatology[0]
        price = energy_usd_per_mwh(series[:, :sites], series[:, sites : 2 * sites], usd_per_kg)
        renewable, arrivals = np.split(series[:, 2 * sites :], [sites], axis=-1)
        weeks.append(np.concatenate([price * calibrated, renewable * calibrated, arrivals], axis=-1))
    return np.stack(weeks)


def _interpolation(at: tuple[int, ...]) -> Float[Floats, "steps H+1"]:
    """Return the weights of values known at the steps ``at`` (0 first), linear in between."""
    steps = np.arange(1, at[-1] + 1)
    return np.stack([np.interp(steps, at, np.eye(len(at))[i]) for i in range(len(at))], axis=-1)
