"""Model predictive control: plans a window ahead with the forecasts that the agent gets, does the first step, again.

The fair rival of a learned policy: it sees the observation, the constants of the scenario and a forecast, and plans
with the same model as the perfect-foresight optimum.

    trajectory = run(MPC("day_ahead"), instance)       # gridai_env.rollout

- State: from the observation (float32).  Which job a slot shows follows from all that the slot says: size, length,
  value, slack and sites.
- Future: `gridai_env.episodes.planner_forecast.exogenous_forecast` of the step, never more.  With forecasts
  other than perfect a job is known from its release on, as in the observation, and last resorts are priced by
  what is foreseen.
- What is left at the end of a window: see `baselines.mpc.terminal_value`.
- Decisions are optimal to `Options.mip_gap` unless `MPC.statuses` says otherwise.  Windows with more rows than
  `Options.large_rows` (a day of ten sites; none of two to four) bill friction in their first 12 steps only and
  round before they branch: see `baselines.mpc.rolling`.  In closed loop on ``global`` that earned as much as billing
  all 24 steps, in a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.mpc.rolling import Options, RollingModel, WindowDecision
from gridai_env.arrays.types import AnyFloats, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.episodes.last_resorts import last_resort_prices
from gridai_env.episodes.planner_forecast import (
    FORECAST_KINDS,
    ForecastKind,
    exogenous_forecast,
    kind_at_hand,
)
from gridai_env.observation.decode import records
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.policy import Policy
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout, encode
from gridai_env.world.feasible import to_normal_form
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, Params, State

ROUNDING = 1e-5  # relative, of what the observation shows in float32


class MPC(Policy):
    """Rolling horizon with one kind of forecast: "perfect", "day_ahead" or "persistence"."""

    def __init__(
        self,
        kind: ForecastKind = "day_ahead",
        horizon_h: float = 24.0,
        options: Options | None = None,
    ) -> None:
        """Plan ``horizon_h`` hours ahead."""
        if kind not in FORECAST_KINDS:
            raise ValueError(f"kind = {kind!r}: must be one of {', '.join(FORECAST_KINDS)}")
        if not horizon_h > 0.0:
            raise ValueError(f"horizon_h = {horizon_h}: must be above 0 hours")
        self.kind, self.horizon_h, self.options = kind, horizon_h, options or Options()
        self.name = f"mpc:{kind}"
        self._compiled: Compiled | None = None
        self._instance: Instance | None = None
        self.last: WindowDecision | None = None  # what the last window came to
        # How often decisions of this episode had each `Decision.status`; counted anew from `begin` on.  Where there
        # is a "time_limit", or the limit turned one to "rounded", the machine had a say in the result.
        self.statuses: dict[str, int] = {}

    def prepare(self, compiled: Compiled) -> None:
        """Take the constants of the scenario that the next episodes belong to."""
        if self._compiled is compiled:
            return
        self._compiled, self._instance = compiled, None
        self._observation = ObservationLayout(compiled)
        self._layout = Layout(compiled.shape)

    def begin(self, instance: Instance) -> None:
        """Take the episode whose forecasts to read; raises ValueError where it has none of this kind."""
        kind_at_hand(instance, self.kind)
        self.prepare(instance.compiled)
        self._instance, self.statuses = instance, {}
        shape = instance.compiled.shape
        steps = min(max(round(self.horizon_h / shape.dt_h), 1), shape.steps)
        # A model of its own, so that an episode does not depend on those that were played before it.
        self._model = RollingModel(instance.params, shape, steps, self.options)

    def predict(
        self,
        observation: Mapping[str, NDArray[np.float32]] | NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], Any]:
        """Action [A] for an observation (Dict or flat) of the episode that `begin` named; ``state`` passes through.

        A batch of one is taken, too.  Raises RuntimeError before `begin`, ValueError for larger batches.
        """
        instance = self._instance
        if instance is None:
            raise RuntimeError(
                "MPC knows no episode yet, so it has no forecasts: call begin(instance) before the first predict"
            )
        if not isinstance(observation, Mapping):
            observation = self._observation.as_dict(np.asarray(observation))
        lead = next(iter(observation.values())).shape[:-1]
        if int(np.prod(lead)) != 1:
            raise ValueError(f"the observation has batch axes {lead}: MPC plays one episode at a time")
        units = {name: np.asarray(part, dtype=float).reshape(-1) for name, part in observation.items()}
        action = self._decide(instance, units)
        return action.reshape(*lead, -1), state

    def _decide(self, instance: Instance, observation: Mapping[str, AnyFloats]) -> NDArray[np.float32]:
        units = self._observation.physical(observation)
        t = instance.steps - int(units["steps_left"])
        foreseen = exogenous_forecast(instance, t, self._model.steps, self.kind)
        state = self._state(instance, t, units)
        # Of jobs that are not known to wait, nothing is known.
        foreseen = foreseen.replace(job_open=foreseen.job_open * state.waiting[:, None])
        p = self._constants(instance, foreseen, state, t)
        end = t + len(foreseen.arrivals_gpuh)
        later = instance.exogenous.job_open[end:].any((0, 2)) & (state.waiting > 0.5)
        self.last = self._model.decide(p, foreseen, state, end == instance.steps, later)
        self.statuses[self.last.status] = self.statuses.get(self.last.status, 0) + 1
        return self._action(instance.params, foreseen, state, self.last)

    def _state(self, instance: Instance, t: int, units: Mapping[str, Floats]) -> State:
        """The state that the observation shows, within its limits despite float32, with the jobs of the instance."""
        seen, _ = records(self._observation.compiled.params, units)
        p = instance.params
        return seen.replace(
            battery_mwh=np.clip(seen.battery_mwh, p.battery_min_mwh, p.battery_max_mwh),
            generation_mw=np.minimum(seen.generation_mw, p.generator_max_mw),
            committed_gpus=np.minimum(seen.committed_gpus, (p.utilisation_limit * p.gpus)[:, None]),
            carbon_kg=np.minimum(seen.carbon_kg, p.carbon_budget_kg),
            waiting=waiting_jobs(instance, t, units, foreseen=self.kind == "perfect"),
        )

    def _constants(self, instance: Instance, foreseen: Exogenous, state: State, t: int) -> Params:
        """Constants of a window: only jobs that wait, last resorts and budget of what is foreseen."""
        p = instance.params
        shed, gpu_short = last_resort_prices(p, foreseen.map(lambda x: x[None]))
        sites = np.ones(len(p.gpus))
        share = len(foreseen.arrivals_gpuh) / (instance.steps - t)
        left_kg = p.carbon_budget_kg - state.carbon_kg
        return p.replace(
            job_gpus=p.job_gpus * state.waiting,
            job_profile=p.job_profile * state.waiting[:, None],
            job_value_usd=p.job_value_usd * state.waiting,
            shed_usd_per_mwh=shed * sites,
            gpu_short_usd_per_gpuh=gpu_short * sites,
            carbon_budget_kg=state.carbon_kg + left_kg * share if p.has_carbon_budget else p.carbon_budget_kg,
        )

    def _action(
        self, p: Params, foreseen: Exogenous, state: State, decision: WindowDecision
    ) -> NDArray[np.float32]:
        """The action [A] that asks for the first step of the plan."""
        one = p.replace(**{name: np.asarray(getattr(p, name))[None] for name in INSTANCE_FIELDS})
        now = foreseen.map(lambda x: x[:1])
        before = state.map(lambda x: np.asarray(x)[None])
        flows = to_normal_form(one, before, now, decision.first.map(lambda x: np.asarray(x)[None]))
        return encode(one, self._layout, before, now, flows)[0]


def waiting_jobs(instance: Instance, t: int, units: Mapping[str, AnyFloats], foreseen: bool) -> AnyFloats:
    """Which jobs of the instance wait at step t, [J]: those that the slots show; later ones where ``foreseen``.

    Slots show the jobs that wait and may be started now, in the order of the instance.  Jobs that look alike are
    alike in all that matters.  ``units``: see `ObservationLayout.physical`.
    """
    p, job_open = instance.params, instance.exogenous.job_open
    waiting = np.zeros(len(p.job_gpus))
    slots = iter(np.flatnonzero(units["job_present"] > 0.5))
    slot = next(slots, None)
    for j in np.flatnonzero(job_open[t].any(-1)):
        slack = np.flatnonzero(job_open[t:, j].any(-1))[-1]
        if slot is not None and (
            np.isclose(units["job_gpus"][slot], p.job_gpus[j], rtol=ROUNDING)
            and np.isclose(units["job_value_usd"][slot], p.job_value_usd[j], rtol=ROUNDING)
            and round(float(units["job_duration_steps"][slot])) == round(float(p.job_profile[j].sum()))
            and round(float(units["job_slack_steps"][slot])) == slack
            and np.array_equal(units["job_open"][slot] > 0.5, job_open[:, j].max(0) > 0.5)
        ):
            waiting[j] = 1.0
            slot = next(slots, None)
    if slot is not None:
        raise ValueError(
            f"the observation shows a job in slot {slot} at step {t} that the instance of seed {instance.seed} does "
            "not have: call begin(instance) with the episode that is played"
        )
    if foreseen:
        waiting[job_open[t + 1 :].any((0, 2)) & ~job_open[: t + 1].any((0, 2))] = 1.0
    return waiting
