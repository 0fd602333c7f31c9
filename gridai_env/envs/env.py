"""The Gymnasium environment: one episode at a time.  An adapter; the world is in `simulator`."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from gridai_env.arrays.types import Floats32, Observation
from gridai_env.envs.action_space import action_box, names_of_actions
from gridai_env.envs.arguments import checked_action, checked_options, plain_seed
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.envs.episode_source import DRAWN_SEEDS
from gridai_env.envs.episodes_ahead import EpisodesAhead
from gridai_env.envs.observer import Observer
from gridai_env.envs.options import EnvOptions, keywords_of
from gridai_env.envs.pictures import Pictures
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.step_figures import INFO_KEYS, KEYS, add_step
from gridai_env.envs.step_kernel import make_room
from gridai_env.episodes.instance import Instance, InstanceBatch
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled


class GridAIEnv(gym.Env[Observation, Any]):
    """Serve AI work where and when electricity is cheap and clean.

    ## Description
    Regions of the world send inference work to data centre sites.  In every step (an hour, by default) the
    agent decides where each region's work is served, how much of it waits or is refused, how batteries and
    generators run, and which training jobs start.  Latency, law and state close some routes.  What limits and
    physics do not allow is projected onto what they do (`gridai_env.world.feasible`), so every action is allowed.
    The equations are in `gridai_env.world.physics`, the terms in `gridai_env.world.terms`, the figures in the scenario.

    Letters: C client regions, W workload rows (a task class with one locality level: home, zone,
    anywhere; rows that may not wait come first), P rows that may not wait, Q rows that may, K sites, V
    job slots, H leads of the forecast, D steps of the longest wait, N steps of the longest job, T steps
    of ``dt_h`` hours. Indices of each part count in C order: the last letter runs fastest.

    ## Action Space
    ``Box(-1, 1, (A,), float32)``; the parts lie one after the other.  `action_names` lists every index.

    | part      | shape     | meaning of ``a``                                                          |
    |-----------|-----------|---------------------------------------------------------------------------|
    | routing   | [C,W,K+2] | see below                                                                 |
    | battery   | [K]       | charge (+) or discharge (-), as a fraction of the power limit             |
    | generator | [K]       | ``max(0, a)`` of the capacity                                             |
    | renewable | [K]       | used share of what is available: ``clip(1 + a, 0, 1)``                    |
    | jobs      | [V,K+1]   | see below                                                                 |
    | mode      | [K]       | ``max(0, a)`` of what power modes can save (only where there are any)     |

    Routing: the first K entries share the work on hand (backlog and arrivals) among the sites in
    proportion to ``(a + 1) / 2``, closed routes left out; where all are 0 it goes home.  Entry K, hold:
    ``max(0, a)`` of the work on hand waits (rows that may wait only).  Entry K+1, refuse: ``max(0, 2a-1)`` of
    it is refused.  Hold and refuse are scaled to at most 1 together.
    Jobs: slot v is the v-th most urgent job that may start now.  The best of the sites that are open to it
    and where it fits wins if it is above the last entry, "wait".
    Import or export closes the power balance of each site.

    ## Observation Space
    ``Dict`` of 1-D float32 boxes in alphabetical order; `FlattenObservation` puts them side by side in
    this order.  Entries are ``(value - offset) / scale`` with constants of the scenario; the offset is 0
    but for PUE. A part without entries (no jobs, no carbon budget, no rows that wait) is left out.
    `layout.index_names()` lists every index, `layout.physical(observation)` gives the values in units.

    | key                     | shape   | value                                          | scale             |
    |-------------------------|---------|------------------------------------------------|-------------------|
    | arrivals                | [C,W]   | work that arrives in this step, GPU-h          | work              |
    | arrivals_before         | [C,P]   | the same a step ago (first step: this one's)   | work              |
    | available_gpus          | [K]     | accelerators in service                        | nameplate         |
    | backlog                 | [C,Q]   | work that waits, GPU-h                         | work x wait       |
    | baseline_counts         | [K]     | 1: the day before counts for the baseline (+)  | 1                 |
    | baseline_share          | [L,K]   | one over the days averaged, in an event (+)    | 1                 |
    | baseline_sum            | [K,U]   | net import summed over days that count, MW (+) | import limit      |
    | battery                 | [K]     | energy in the battery, MWh                     | most it may hold  |
    | battery_target          | [K]     | energy wanted after this step, MWh (last only) | most it may hold  |
    | buy_price               | [K]     | price of import, USD/MWh                       | 100               |
    | carbon_average          | [K]     | average intensity of the grid, kg/MWh          | 500               |
    | carbon_budget_left      | [1]     | carbon budget not used yet, kg                 | budget            |
    | carbon_marginal         | [K]     | marginal intensity of the grid, kg/MWh         | 500               |
    | clock                   | [6]     | sin, cos of UTC hour, day of week, day of year | 1                 |
    | committed_gpus          | [K,N]   | held by running jobs now and in the next steps | nameplate         |
    | committed               | [L,K]   | reduction promised, in an event, MW (+)        | import limit      |
    | day_before              | [K,U]   | net import a day ago, this hour first, MW (+)  | import limit      |
    | due                     | [C,Q,D] | see below, GPU-h                               | work x wait       |
    | export_limit            | [K]     | most export, MW                                | without events    |
    | forecast_arrivals       | [H,C]   | arrivals over all rows, GPU-h                  | work of all rows  |
    | forecast_available_gpus | [H,K]   | accelerators in service (*)                    | nameplate         |
    | forecast_buy_price      | [H,K]   | price of import, USD/MWh                       | 100               |
    | forecast_call           | [H,Q]   | 1: a line will be down, as far as is known (+) | 1                 |
    | forecast_carbon         | [H,K]   | intensity that is billed, kg/MWh               | 500               |
    | forecast_clean          | [H,M]   | contracted clean generation, MW (+)            | contracted        |
    | forecast_export_limit   | [H,K]   | most export, MW (*)                            | without events    |
    | forecast_import_limit   | [H,K]   | most import, MW (*)                            | without events    |
    | forecast_renewable      | [H,K]   | renewable power, MW                            | installed         |
    | generation              | [K]     | generator output of the step before, MW        | capacity          |
    | generator_open          | [K]     | 1: the generator may run (+)                   | 1                 |
    | import_limit            | [K]     | most import, MW                                | without events    |
    | jobs                    | [V,5+K] | see below                                      | see below         |
    | line                    | [L,K]   | limit of import with a price, MW (+)           | import limit      |
    | line_price              | [L,K]   | price of import above it, USD/MWh (+)          | 100               |
    | open_routes             | [C,W,K] | 1 where the route is open                      | 1                 |
    | peak_import             | [K]     | highest import so far, MW                      | import limit      |
    | placed                  | [C,P,K] | work served in the step before, GPU-h          | work              |
    | pue                     | [K]     | PUE - 1                                        | 1                 |
    | renewable               | [K]     | renewable power available, MW                  | installed         |
    | response_price          | [L,K]   | paid for load reduced in an event, USD/MWh (+) | 100               |
    | sell_price              | [K]     | price of export, USD/MWh                       | 100               |
    | steps_left              | [1]     | steps to come, this one included               | T                 |

    "work" is the mean of region and row: ``mean_gpus * dt_h *`` share of the row; "wait" the row's
    longest wait in steps; "installed" PV and wind.  ``due``: work on hand that must leave the queue by
    the end of this step, of the next, ... of the D-th.  ``jobs``, for each slot: present (1),
    accelerators (over the largest site), steps of duration (over N), steps until the last possible start
    (over T), USD (over the most valuable job), and for each site 1 where it may start; 0 in empty slots.
    This step's values are exact; later ones show only in the forecast, at the scenario's
    ``forecast.leads_h``, 0 beyond the end.  After the last step all that the world brings is 0.
    (*): only in scenarios with events that reduce it.  "day_ahead", "published": announced events and those that
    have struck (until their end) show, others do not; "persistence": what events do now; "perfect": the truth.
    (+): only in scenarios with lines (demand response, generators that run while called).  L lines of a site, Q that
    are called, M contracts, U steps of a day.  In an event with a baseline the line is ``line`` plus
    ``baseline_share`` times the first entry of ``baseline_sum``, with that of ``day_before`` where it counts.

    ## Rewards
    Benefit of the step in USD over the scenario's ``reward_scale_usd``.  Benefit is the sum of the signed
    terms that ``info`` shows as ``terms/<name>_usd``: revenue, job_value, import, export, fuel,
    battery_wear, egress, relocation, warm_up, demand_charge, carbon_price, carbon_excess, water,
    line_excess, dr_energy, dr_capacity, drop_penalty, gpu_shortfall, shed_penalty, battery_shortfall.
    ``info`` is flat and numeric: the figures of the step (0 at reset), named in `gridai_env.envs.step_figures.KEYS`:
    the terms, benefit_usd, bill_usd, emissions_kg (billed intensity), emissions_average_kg,
    emissions_marginal_kg, water_l, arrived_gpuh, served_gpuh, dropped_gpuh, backlog_gpuh, import_mwh,
    export_mwh, curtailed_mwh, shed_mwh, line_excess_mwh (of contracts none), carbon_excess_kg, and ``cost``, the
    quantity that the scenario's ``constraint`` has a budget for (0 without one; not in the reward); their totals so
    far as ``episode/<key>``; and ``instance_seed``.  Every ``info`` has the same keys: at reset, after each step and
    after the last.

    ## Starting State
    ``reset(seed=s)`` plays the instance of seed s (`make_instance`): its start, traces, demand, jobs,
    events. ``reset()`` draws the next instance seed from the environment's generator.
    ``reset(options={"start": "2023-07-01T00:00"})`` (UTC) fixes the start; the seed draws the rest.
    ``reset(options={"instance": x})`` plays a given instance (or its file) of this scenario or of one whose
    observations have the same scales.  Batteries and generators stand as the
    scenario says, queues are empty, the first arrivals count as placed at home, no job runs.

    ## Episode End
    The episode terminates after ``horizon_h / dt_h`` steps; there the objective ends too.  It is never
    truncated.

    ## Arguments
    - ``scenario="two_sites"``: name of a shipped scenario, path of a YAML file, dict, or Scenario.
    - ``traces=None``: "synthetic" or a trace file; None: as the scenario says.
    - ``demand=None``: "synthetic" or a file of requests or rates with options, "FILE,model=m-large"; None: as
      the scenario says.
    - ``horizon_h=None``: length of an episode.
    - ``forecast=None``: "perfect", "persistence", "day_ahead" or "published".
    - ``latency_scale=None``: factor on all latency budgets.
    - ``carbon_price_usd_per_t=None``: price of carbon.
    - ``instance=None``: file or Instance that every episode plays.
    - ``start=None``: UTC time at which every episode begins, e.g. "2023-07-01T00:00"; None: drawn.
    - ``render_mode=None``: "rgb_array" (needs the extra ``render``).
    - ``compile=False``: True runs a step as one compiled function, many times faster and equal to rounding (see the
      performance page); where it cannot be compiled it says so once and is not.

    ## Version History
    - v2: forecasts: the noise of "day_ahead" scales with the anomaly in spikes; expectation and noise of traces from
      files come from hours before the episode.
    - v1: other prices, start dates, carbon price or budget, generation and values in some scenarios.
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  Gymnasium's type

    @keywords_of(EnvOptions)
    def __init__(self, options: EnvOptions) -> None:
        """Open the scenario; raises ValueError (ScenarioError, InstanceError, ...) where that fails."""
        self.render_mode = options.render_mode
        self._source = options.open_source()
        self.layout = ObservationLayout(self.compiled)
        self.observation_space: gym.spaces.Dict = self.layout.space()  # type: ignore[assignment]
        self.action_space: gym.spaces.Box = action_box(self.compiled)
        self._simulator: Simulator | None = None
        self._compiles, self._ahead = bool(options.compile), EpisodesAhead(self._source)
        self._pictures = Pictures()

    @property
    def compiled(self) -> Compiled:
        """The scenario of the environment as arrays."""
        return self._source.compiled

    @property
    def instance(self) -> Instance:
        """The episode that is played; raises ResetNeeded before the first reset."""
        _ = self.simulator  # there are episodes
        return self._batch[0]

    @property
    def simulator(self) -> Simulator:
        """The simulator with the current state of the episode; raises ResetNeeded before the first reset."""
        if self._simulator is None:
            raise ResetNeeded("no episode yet: call reset() first")
        return self._simulator

    @property
    def action_names(self) -> list[str]:
        """A name for every index of the action."""
        return names_of_actions(self.compiled)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; ``options`` may hold "instance" (or the path of its file) or "start", a UTC time."""
        options = checked_options(options, ("instance", "start"))
        seed = plain_seed(seed)
        super().reset(seed=seed)
        if "instance" in options:
            self._start(self._source.of_instances([options["instance"]]))
        elif seed is not None or "start" in options:
            drawn = int(self.np_random.integers(DRAWN_SEEDS)) if seed is None else seed
            starts = self._source.starts(np.zeros(1, np.intp), options.get("start"))
            self._start(self._source.batch([drawn], starts))
        else:
            self._start(self._ahead.next(self.np_random))
        return self._observe(), self._info([0.0] * len(KEYS))

    def _make(self, compiled: Compiled) -> None:
        """Make room for an episode of a scenario, unless there is."""
        is_other = compiled.hash != self.layout.compiled.hash
        if is_other:
            self.layout = ObservationLayout(compiled)
        if self._simulator is None or is_other:
            self._simulator = make_room(self.layout, 1, np.empty(0), self._compiles)
            self._observer = Observer(self._simulator)

    def _start(self, batch: InstanceBatch, where: dict[str, Any] | None = None) -> None:
        """Put the only episode of ``batch`` at its first step, or as it stood in a snapshot of the simulator."""
        self._make(batch.compiled)
        simulator, t = self._simulator, None if where is None else where["t"]
        assert simulator is not None
        simulator.begin(np.zeros(1, np.intp), simulator.prepare(EpisodeArrays.of(batch)), t)
        self._batch, self._reward_scale_usd = batch, batch.compiled.reward_scale_usd
        self._totals = np.zeros((len(KEYS), 1))

    def step(self, action: Floats32) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance one step; raises ValueError for an impossible action and ResetNeeded after the end."""
        simulator = self.simulator
        if simulator.t[0] >= simulator.steps:
            raise ResetNeeded("the episode is over: call reset() before step()")

        checked = checked_action(action, self.action_space.shape)
        figures, _ = simulator.step_figures(checked[None])
        self._totals = add_step(self._totals, figures)

        row = figures[:, 0].tolist()
        # The task itself ends with the horizon: it terminates and is never truncated.
        terminated = bool(simulator.t[0] >= simulator.steps)
        return self._observe(), row[0] / self._reward_scale_usd, terminated, False, self._info(row)

    def _info(self, row: list[float]) -> dict[str, Any]:
        """Return the figures of the step, the totals so far and the seed."""
        totals = self._totals[:, 0].tolist()
        return {**dict(zip(INFO_KEYS, row + totals, strict=True)), "instance_seed": self._batch.seeds[0]}

    def _observe(self) -> Observation:
        return self.layout.as_dict(self._observer.observe()[0])

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture of the step just made; None without a render mode."""
        simulator = self.simulator
        if self.render_mode is None:
            gym.logger.warn(
                "render() without a render mode: make the environment with render_mode='rgb_array'"
            )
            return None
        return self._pictures.frame(self._batch[0], simulator, simulator.last_step(), self._totals, 0)

    def close(self) -> None:
        """Release the renderer; the environment can still be used."""
        self._pictures.clear()

    def get_state(self) -> dict[str, Any]:
        """Return everything that `set_state` needs to continue bit for bit; can be pickled."""
        running = self.simulator
        return {
            "instance": self._batch[0],
            "simulator": running.get_state(),
            "totals": self._totals.copy(),
            "np_random": copy.deepcopy(self.np_random.bit_generator.state),
            "np_random_seed": self._np_random_seed,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to where `get_state` was called, in this or another environment of the same scenario."""
        self._start(self._source.of_instances([state["instance"]]), state["simulator"])
        self.simulator.set_state(state["simulator"], placed=True)
        self._totals = state["totals"].copy()
        self.np_random.bit_generator.state = copy.deepcopy(state["np_random"])
        self._np_random_seed = state["np_random_seed"]
