"""The flat observation as tensors in units: the present as observed, the future as foreseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gridai_env.arrays.types import Array, Float
from gridai_env.observation.decode import JOB_FEATURES, parts_in_units
from gridai_env.observation.forecast_memory import ForecastMemory
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled
from gridai_env.world.size import unit_of
from gridai_env.world.state import INSTANCE_FIELDS, Params
from gridai_env.world.terms import energy_usd_per_mwh

DAY_H = 24.0
UNIT_USD = 10.0  # prices inside are in 10 USD per MWh
CLOSED = 1e4  # cost of a closed route, in that unit
# Parts and constants that grow with the scenario: inside they are in its `unit_of`, as thresholds and widths are.
GROWING = (
    "arrivals", "arrivals_before", "available_gpus", "backlog", "battery", "committed_gpus", "due", "export_limit",
    "import_limit", "placed", "renewable", "line", "committed", "baseline_sum", "day_before", "forecast_clean",
)  # fmt: skip
SIZES = (
    "gpus", "base_load_mw", "battery_min_mwh", "battery_max_mwh", "charge_limit_mw", "discharge_limit_mw",
    "generator_max_mw",
)  # fmt: skip
HOURS_SHOWN = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 24.0)  # leads of the foreseen prices that the networks see
PERSISTENCE_H = 12.0  # how far ahead sessions look before they move


@dataclass(frozen=True)
class Observed:
    """A batch of observations in units."""

    part: dict[str, Tensor]  # of the observation, by name, in its own shape and unit
    usd_per_mwh: Float[Tensor, "B F K"]  # price of import with its carbon, from now on
    renewable_mw: Float[Tensor, "B F K"]  # worth using: none at negative import prices
    region_gpuh: Float[Tensor, "B F C"]  # arrivals over all rows
    within: Float[Tensor, "B F"]  # 1.0 for steps of the episode, else 0.0
    steps_left: Float[Tensor, " B"]  # the step to come included
    on_hand_gpuh: Float[Tensor, "B C W"]
    due_gpuh: Float[Tensor, "B C W"]  # what may not wait any longer
    resident: Float[Tensor, "B C W K"]  # share of a region's sessions placed at a site in the step before
    hands: Float[Tensor, "B K 2"]  # sine and cosine of the solar hour at the sites
    hand: Float[Tensor, "B 2"]  # the same of its mean over the sites


class Reader(torch.nn.Module):
    """Decoder of flat observations [B,N+M] of one scenario: those of the environment and the memory of forecasts.

    It also holds the constants of the scenario, and what several decisions derive from them.
    """

    scale: Float[Tensor, " N"]
    offset: Float[Tensor, " N"]
    longitude: Float[Tensor, " K"]
    closed_cost: Float[Tensor, "C W K"]  # `CLOSED` where a route is closed, else 0
    single_route: Float[Tensor, "C P"]  # 1.0 for sessions that have one route
    open_index: Tensor  # open routes among all, flat
    battery_target_mwh: Float[Tensor, " K"]  # at the end of the episode
    ungated: Float[Tensor, " K"]  # 0.0 where a generator may run only while a line is called
    call_owner: Float[Tensor, "Q K"]  # 1.0 at the site whose line is called
    contract_owner: Float[Tensor, "M K"]  # the same of contracts of clean generation
    fuel_price: Float[Tensor, " K"]  # of own generation with its carbon, in 10 USD per MWh

    def __init__(self, compiled: Compiled) -> None:
        super().__init__()
        layout = ObservationLayout(compiled)
        self.compiled, self.layout, self.memory = compiled, layout, ForecastMemory(compiled)
        self.first = compiled.shape.session_rows
        self.size = layout.size
        self.unit = unit_of(compiled.params)
        units = self._units()
        self._keep("scale", layout.scales / units)
        self._keep("offset", layout.offsets / units)
        self._keep("longitude", compiled.sites.longitude)

        self.params = constants_of(compiled, self.unit)
        self.usd_per_kg = compiled.params.carbon_price_usd_per_kg
        self.carbon = f"carbon_{compiled.carbon_signal}"
        self.shown = self.leads(HOURS_SHOWN)
        self.horizon = min(round(PERSISTENCE_H / compiled.shape.dt_h), self.memory.steps)
        self.longest = compiled.shape.wait_steps
        self.has_renewables = bool(compiled.sites.renewable_mw.any())
        self.is_flexible = bool(compiled.lines.rules) or self.params.has_modes

        is_open = compiled.params.route_open
        self._keep("closed_cost", CLOSED * (1.0 - is_open))
        self._keep("single_route", is_open[:, : self.first].sum(-1) < 1.5)
        ungated = np.ones(compiled.shape.sites)
        ungated[list(compiled.lines.gated)] = 0.0
        self._keep("ungated", ungated)
        identity, lines = np.eye(compiled.shape.sites), compiled.lines
        self._keep("call_owner", identity[list(lines.call_site)])
        self._keep("contract_owner", identity[[rule.site for rule in lines.matching]])
        self._keep("battery_target_mwh", compiled.sites.battery_target_mwh / self.unit)
        p = compiled.params
        fuel = energy_usd_per_mwh(p.fuel_usd_per_mwh, p.generator_carbon_kg_per_mwh, self.usd_per_kg)
        self._keep("fuel_price", fuel / UNIT_USD)
        self.register_buffer("open_index", torch.as_tensor(np.flatnonzero(is_open)), persistent=False)

    def leads(self, hours: Sequence[float]) -> list[int]:
        """Return hours ahead in steps that are foreseen, at least one."""
        dt_h, foreseen = self.compiled.shape.dt_h, self.memory.steps
        return [min(max(round(h / dt_h), 1), foreseen) for h in hours]

    def foreseen(self, name: str, part: dict[str, Tensor], hours: Sequence[float]) -> Float[Tensor, "B S K"]:
        """Return a forecast of calls or contracts, summed over those of a site, at the leads nearest to ``hours``."""
        if name not in part:
            return part["pue"].new_zeros((len(part["pue"]), len(hours), self.compiled.shape.sites))
        known = np.array(self.compiled.forecast.lead_steps)
        nearest = [int(np.abs(known - step).argmin()) for step in self.leads(hours)]
        owner = self.call_owner if name == "forecast_call" else self.contract_owner
        return part[name][:, nearest] @ owner

    def _units(self) -> Float[Array, " N"]:
        """Return the unit of each entry of the observation: 1 but for those that grow with the scenario."""
        units = np.ones(self.layout.size)
        for name in self.layout.parts.keys() & set(GROWING):
            units[self.layout.parts[name]] = self.unit
        if "jobs" in self.layout.parts:
            jobs = units[self.layout.parts["jobs"]].reshape(self.layout.by_name["jobs"].shape)  # a view
            for name in ("gpus", "value"):
                jobs[:, JOB_FEATURES.index(name)] = self.unit
        return units

    def _keep(self, name: str, values: Array) -> None:
        """Register a constant that moves with the module and is not saved with the weights."""
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32), persistent=False)

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        self.params = self.params.map(lambda x: fn(x) if isinstance(x, Tensor) else x)
        return super()._apply(fn, recurse)

    def forward(self, observation: Float[Tensor, "B N+M"]) -> Observed:
        """Decode a batch of observations with memory."""
        part = parts_in_units(self.layout, observation[:, : self.size], self.scale, self.offset)
        left = part["steps_left"][:, 0].round()
        sites = self.compiled.shape.sites
        prices, amounts = self.memory.curves(observation[:, self.size :]).tensor_split([sites], -1)
        curves = torch.cat([prices, amounts / self.unit], -1)
        within = (torch.arange(curves.shape[1], device=left.device) < left[:, None]).to(observation.dtype)

        # Beyond the end the present is repeated; `within` masks it.
        now = self.memory.present(part)
        ahead = torch.where(within[..., None] > 0.5, curves, now[:, None])
        # What is foreseen follows from no action: there is no gradient to look for.
        ahead = torch.cat([now[:, None], ahead[:, 1:]], 1).detach()
        on_hand, due = self._work(part)
        hour = self._local_h(part["clock"])
        return Observed(
            part=part,
            usd_per_mwh=ahead[..., :sites],
            renewable_mw=ahead[..., sites : 2 * sites] * (ahead[..., :sites] >= 0.0),
            region_gpuh=ahead[..., 2 * sites :],
            within=within,
            steps_left=left,
            on_hand_gpuh=on_hand,
            due_gpuh=due,
            resident=self._resident(part),
            hands=_hands(hour),
            hand=_hands(hour.mean(-1)),
        )

    def _work(self, part: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return work on hand and work due now, [B,C,W] each; sessions are due at once."""
        arrivals, first = part["arrivals"], self.first
        if first == arrivals.shape[-1]:
            return arrivals, arrivals
        waiting = part["backlog"] + arrivals[..., first:]
        head = arrivals[..., :first]
        return torch.cat([head, waiting], -1), torch.cat([head, part["due"][..., 0]], -1)

    def _resident(self, part: dict[str, Tensor]) -> Float[Tensor, "B C W K"]:
        arrivals, sites = part["arrivals"], self.compiled.shape.sites
        none = arrivals.new_zeros((*arrivals.shape, sites))
        if self.first == 0:
            return none
        share = part["placed"] / part["arrivals_before"].clamp_min(1e-9)[..., None]
        return torch.cat([share.clamp(0.0, 2.0), none[:, :, self.first :]], 2)

    def _local_h(self, clock: Tensor) -> Tensor:
        """Return the solar hour at the sites [B,K]: hour UTC plus longitude at 15 degrees per hour."""
        hour = torch.atan2(clock[:, 0], clock[:, 1]) * (12.0 / np.pi)
        return hour[:, None] + self.longitude / 15.0


def _hands(hour: Tensor) -> Tensor:
    """Return sine and cosine [...,2] of an hour of the day."""
    angle = hour * (2.0 * np.pi / DAY_H)
    return torch.stack([angle.sin(), angle.cos()], -1)


def constants_of(compiled: Compiled, unit: float) -> Params:
    """Return the constants of a scenario as float32 tensors, without the fields of single instances; SIZES in units."""
    tensors: Params = compiled.params.map(
        lambda x: torch.as_tensor(x, dtype=torch.float32) if isinstance(x, np.ndarray) else x
    )
    sizes = {name: getattr(tensors, name) / unit for name in SIZES}
    return tensors.replace(**sizes, **dict.fromkeys(INSTANCE_FIELDS))
