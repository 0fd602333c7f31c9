"""Model predictive control: plan a window ahead on the forecasts the agent gets, execute the first step, repeat.

A fair comparison for a learned policy: it sees the observation, the constants of the scenario and a forecast, and plans
with the same model as the perfect-foresight optimum.

    trajectory = run(MPC(), instance)       # gridai_env.rollout

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

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from baselines.mpc.rolling import Options, RollingModel, WindowDecision
from baselines.rules.rule import Actions, Observed, ScenarioPolicy
from gridai_env.arrays.types import Float, Floats
from gridai_env.episodes.instance import Instance
from gridai_env.episodes.last_resorts import last_resort_prices
from gridai_env.episodes.planner_forecast import (
    FORECAST_KINDS,
    ForecastKind,
    exogenous_forecast,
    kind_at_hand,
)
from gridai_env.observation.decode import records
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import encode
from gridai_env.world.feasible import to_normal_form
from gridai_env.world.state import INSTANCE_FIELDS, Exogenous, Params, State

ROUNDING = 1e-5  # relative, of what the observation shows in float32


class MPC(ScenarioPolicy):
    """Rolling horizon with one kind of forecast (`FORECAST_KINDS`); None: that of the scenario, as agents see it."""

    def __init__(
        self, kind: ForecastKind | None = None, horizon_h: float = 24.0, options: Options | None = None
    ) -> None:
        """Plan ``horizon_h`` hours ahead."""
        if kind is not None and kind not in FORECAST_KINDS:
            raise ValueError(f"kind = {kind!r}: must be one of {', '.join(FORECAST_KINDS)}")
        if not horizon_h > 0.0:
            raise ValueError(f"horizon_h = {horizon_h}: must be above 0 hours")
        super().__init__()
        self.kind, self.horizon_h, self.options = kind, horizon_h, options or Options()
        self.name = f"mpc:{kind or 'own'}"
        self._instance: Instance | None = None

        self.last: WindowDecision | None = None  # plan of the last window
        # How often decisions of this episode had each `WindowDecision.status`; counted anew from `begin` on.  Where
        # there is a "time_limit", or the limit turned one to "rounded", the machine had a say in the result.
        self.statuses: Counter[str] = Counter()

    def prepare(self, compiled: Compiled) -> None:
        """Take the constants of the scenario that the next episodes belong to; forget the episode of another one."""
        if self._compiled is not compiled:
            self._instance = None
        super().prepare(compiled)

    def begin(self, instance: Instance) -> None:
        """Take the episode whose forecasts to read; raise ValueError where it has none of this kind."""
        self._kind = kind_at_hand(instance, self.kind)
        self.prepare(instance.compiled)
        self._instance, self.statuses = instance, Counter()
        shape = instance.compiled.shape
        steps = min(max(round(self.horizon_h / shape.dt_h), 1), shape.steps)
        # A model of its own, so that an episode does not depend on those that were played before it.
        self._model = self._new_model(instance, steps)

    def _new_model(self, instance: Instance, steps: int) -> RollingModel:
        """Return the program of windows of at most ``steps``."""
        return RollingModel(instance.params, instance.compiled.shape, steps, self.options)

    def _foreseen(self, instance: Instance, t: int) -> list[Exogenous]:
        """Return the window from step t on, [h,...], in each future that is planned for; the first step is the same."""
        return [exogenous_forecast(instance, t, self._model.steps, self._kind)]

    def act(self, observation: Observed) -> Actions:
        """Return the action [A] for an observation (Dict or flat) of the episode that `begin` named.

        A batch of one is taken, too.  Raises RuntimeError before `begin`, ValueError for larger batches.
        """
        instance = self._instance
        if instance is None:
            raise RuntimeError(
                "MPC knows no episode yet, so it has no forecasts: call begin(instance) before the first predict"
            )
        parts = self.parts_of(observation)
        lead = next(iter(parts.values())).shape[:-1]
        if int(np.prod(lead)) != 1:
            raise ValueError(f"the observation has batch axes {lead}: MPC plays one episode at a time")

        one = {name: np.asarray(part, dtype=float).reshape(-1) for name, part in parts.items()}
        action = self._decide(instance, self.observation_layout.physical(one))
        return action.reshape(*lead, -1)

    def _decide(self, instance: Instance, units: Mapping[str, Floats]) -> Actions:
        t = instance.steps - int(units["steps_left"])
        state = self._state(instance, t, units)
        # Of jobs that are not known to wait, nothing is known.
        futures = [
            future.replace(job_open=future.job_open * state.waiting[:, None])
            for future in self._foreseen(instance, t)
        ]
        p = self._constants(instance, futures, state, t)

        end = t + len(futures[0].arrivals_gpuh)
        later = instance.exogenous.job_open[end:].any((0, 2)) & (state.waiting > 0.5)
        self.last = self._model.decide(p, futures, state, end == instance.steps, later)
        self.statuses[self.last.status] += 1
        return self._action(instance.params, futures[0], state, self.last)

    def _state(self, instance: Instance, t: int, units: Mapping[str, Floats]) -> State:
        """Return the state that is observed, within its limits despite float32, with the jobs of the instance."""
        seen, _ = records(self.compiled.params, units)
        p = instance.params
        return seen.replace(
            battery_mwh=np.clip(seen.battery_mwh, p.battery_min_mwh, p.battery_max_mwh),
            generation_mw=np.minimum(seen.generation_mw, p.generator_max_mw),
            committed_gpus=np.minimum(seen.committed_gpus, (p.utilisation_limit * p.gpus)[:, None]),
            carbon_kg=np.minimum(seen.carbon_kg, p.carbon_budget_kg),
            waiting=waiting_jobs(instance, t, units, foreseen=self._kind == "perfect"),
        )

    def _constants(self, instance: Instance, futures: Sequence[Exogenous], state: State, t: int) -> Params:
        """Return the constants of a window: only jobs that wait, last resorts and budget of what is foreseen."""
        p = instance.params
        # Last resorts cost the same in all futures: what is enough in the dearest one.
        shed, gpu_short = (price.max() for price in last_resort_prices(p, Exogenous.stacked(futures)))
        sites = np.ones(len(p.gpus))
        # The window may spend what is left of the budget in proportion to its steps.
        share = len(futures[0].arrivals_gpuh) / (instance.steps - t)
        left_kg = p.carbon_budget_kg - state.carbon_kg

        return p.replace(
            job_gpus=p.job_gpus * state.waiting,
            job_profile=p.job_profile * state.waiting[:, None],
            job_value_usd=p.job_value_usd * state.waiting,
            shed_usd_per_mwh=shed * sites,
            gpu_short_usd_per_gpuh=gpu_short * sites,
            carbon_budget_kg=state.carbon_kg + left_kg * share if p.has_carbon_budget else p.carbon_budget_kg,
        )

    def _action(self, p: Params, foreseen: Exogenous, state: State, decision: WindowDecision) -> Actions:
        """Return the action [A] that asks for the first step of the plan."""
        one = p.replace(**{name: np.asarray(getattr(p, name))[None] for name in INSTANCE_FIELDS})
        now = foreseen.map(lambda x: x[:1])
        before = state.map(lambda x: np.asarray(x)[None])
        flows = to_normal_form(one, before, now, decision.first.map(lambda x: np.asarray(x)[None]))
        return encode(one, self.layout, before, now, flows)[0]


def waiting_jobs(
    instance: Instance, t: int, units: Mapping[str, Floats], foreseen: bool
) -> Float[Floats, " J"]:
    """Return 1.0 for jobs of the instance that wait at step t: those in the slots; later ones where ``foreseen``.

    Slots show the jobs that wait and may be started now, in the order of the instance.  Jobs that look alike are
    alike in all that matters.  ``units``: see `ObservationLayout.physical`.
    """
    p, job_open = instance.params, instance.exogenous.job_open
    waiting = np.zeros(len(p.job_gpus))
    slots = iter(np.flatnonzero(units["job_present"] > 0.5))
    slot = next(slots, None)
    for j in np.flatnonzero(job_open[t].any(-1)):
        if slot is not None and _shows(instance, t, units, int(slot), int(j)):
            waiting[j] = 1.0
            slot = next(slots, None)
    if slot is not None:
        raise ValueError(
            f"the observation shows a job in slot {slot} at step {t} that the instance of seed {instance.seed} does "
            "not have: call begin(instance) with the episode that is played"
        )

    # With perfect foresight, jobs that are not released yet are known to wait.
    if foreseen:
        waiting[job_open[t + 1 :].any((0, 2)) & ~job_open[: t + 1].any((0, 2))] = 1.0
    return waiting


def _shows(instance: Instance, t: int, units: Mapping[str, Floats], slot: int, j: int) -> bool:
    """Return whether a slot shows job ``j``, by all that a slot says of a job."""
    p, job_open = instance.params, instance.exogenous.job_open
    slack = np.flatnonzero(job_open[t:, j].any(-1))[-1]
    return bool(
        np.isclose(units["job_gpus"][slot], p.job_gpus[j], rtol=ROUNDING)
        and np.isclose(units["job_value_usd"][slot], p.job_value_usd[j], rtol=ROUNDING)
        and round(float(units["job_duration_steps"][slot])) == round(float(p.job_profile[j].sum()))
        and round(float(units["job_slack_steps"][slot])) == slack
        and np.array_equal(units["job_open"][slot] > 0.5, job_open[:, j].max(0) > 0.5)
    )
