"""The stochastic planner: the window of `baselines.mpc.policy.MPC` in several futures drawn from the forecasts' errors.

    trajectory = run(ScenarioMPC(), instance)       # gridai_env.rollout

Two-stage stochastic programming: what is done now is the same in all futures and best for their mean (or for the worst
of them, see `baselines.mpc.futures.Risk`); what follows may differ, as if the future were known from the next step on.
Futures are drawn from `gridai_env.episodes.forecast_error`, which needs the forecasts up to this step and what
calibration tells in advance, never the truth; the same for the same episode and step.  Everything else is the
planner's: model, state, end values, jobs.
"""

from __future__ import annotations

from baselines.mpc.futures import Risk
from baselines.mpc.policy import MPC
from baselines.mpc.rolling import Options, RollingModel
from gridai_env.episodes.forecast_error import ErrorModel
from gridai_env.episodes.instance import Instance
from gridai_env.episodes.planner_forecast import ForecastKind, exogenous_forecast
from gridai_env.world.state import Exogenous

FUTURES = 8


class ScenarioMPC(MPC):
    """Rolling horizon that hedges against what the forecast may have wrong."""

    def __init__(
        self,
        kind: ForecastKind | None = None,
        horizon_h: float = 24.0,
        options: Options | None = None,
        *,
        futures: int = FUTURES,
        risk: Risk | None = None,
        filtered: bool = True,
    ) -> None:
        """Plan in ``futures`` drawn ways, 1 (their mean alone) or an even number; ``risk`` None: for the mean benefit.

        ``filtered``: the mean of the futures takes all forecasts into account, not each hour's own alone.
        """
        super().__init__(kind, horizon_h, options)
        if futures < 1 or (futures > 1 and futures % 2):
            raise ValueError(f"futures = {futures}: must be 1 or an even number")
        self.futures, self.risk, self.filtered = futures, risk or Risk(), filtered
        self.name = "mpc:scenarios"

    def begin(self, instance: Instance) -> None:
        """Take the episode whose forecasts to read, and how they err."""
        super().begin(instance)
        self._errors = ErrorModel.of(instance, self._kind, filtered=self.filtered)

    def _new_model(self, instance: Instance, steps: int) -> RollingModel:
        shape = instance.compiled.shape
        return RollingModel(instance.params, shape, steps, self.options, self.futures, self.risk)

    def _foreseen(self, instance: Instance, t: int) -> list[Exogenous]:
        steps = self._model.steps
        end = min(t + steps, instance.steps)
        strays = self._errors.draw(t, end, self.futures)
        return [exogenous_forecast(instance, t, steps, self._kind, stray) for stray in strays]
