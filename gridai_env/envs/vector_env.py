"""Many episodes at once: one simulator of B, no Python loop over environments in a step.

Environment i of the batch is the single environment with the same seed, bit for bit, over all its episodes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gridai_env.arrays.types import Bools
from gridai_env.envs.action_space import action_box, names_of_actions
from gridai_env.envs.arguments import (
    check_options,
    checked_action,
    checked_mode,
    checked_render_mode,
    positive_int,
    seed_list,
)
from gridai_env.envs.env import frame_of, make_renderer
from gridai_env.envs.episode_source import DRAWN_SEEDS, ScenarioSource, open_source
from gridai_env.envs.observer import Observer
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.step_figures import EPISODE_KEYS, KEYS, add_step, step_figures
from gridai_env.episodes.instance import Instance, InstanceBatch
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled
from gridai_env.world.state import Flows, Outcome

Info = dict[str, Any]


class GridAIVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """`GridAIEnv` B times; arguments, spaces, rewards and figures as there, all arrays with a leading B.

    ``autoreset_mode``: ``AutoresetMode.SAME_STEP`` (default; a finished environment starts anew in the
    same step, its last observation and figures are in ``infos["final_obs"]`` and ``infos["final_info"]``)
    or ``DISABLED`` (reset with ``options={"reset_mask": mask}``).  ``flat_observations=True``:
    observations are one array [B,N] in place of the Dict.  ``max_episode_steps``: truncate after so many
    steps. ``reset(seed=s)`` seeds environment i with s + i; a list gives each its own seed (None: go on).
    ``options={"instances": [...]}`` plays given instances (or their files), one for each environment that
    is reset. Every call returns new arrays; the parts of a Dict observation are views of one new array.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's type
        "render_modes": ["rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: ScenarioSource | None = "two_sites",
        traces: str | Path | None = None,
        horizon_h: float | None = None,
        forecast: str | None = None,
        latency_scale: float | None = None,
        carbon_price_usd_per_t: float | None = None,
        instance: str | Path | Instance | None = None,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        flat_observations: bool = False,
        demand: str | None = None,
    ) -> None:
        """Open the scenario; raises ValueError (ScenarioError, InstanceError, ...) where that fails."""
        self.num_envs = positive_int("num_envs", num_envs)
        self.max_episode_steps = (
            None if max_episode_steps is None else positive_int("max_episode_steps", max_episode_steps)
        )
        self.render_mode = checked_render_mode(render_mode)
        self.autoreset_mode = checked_mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self._source = open_source(
            scenario,
            instance,
            traces=traces,
            horizon_h=horizon_h,
            forecast=forecast,
            latency_scale=latency_scale,
            carbon_price_usd_per_t=carbon_price_usd_per_t,
            demand=demand,
        )
        self.flat_observations = flat_observations
        self._set_spaces()
        self._generators: list[np.random.Generator] | None = None
        self._simulator: Simulator | None = None
        self._observer: Observer
        self._renderer: Any = None
        self._renderer_hash = ""

    def _set_spaces(self) -> None:
        self.layout = ObservationLayout(self.compiled)
        self.single_observation_space = (
            self.layout.flat_space() if self.flat_observations else self.layout.space()
        )
        self.single_action_space = action_box(self.compiled)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def compiled(self) -> Compiled:
        """The scenario of the environments as arrays."""
        return self._source.compiled

    @property
    def instances(self) -> list[Instance]:
        """The episodes that are played now; raises ResetNeeded before the first reset."""
        self._running()
        return [batch[i] for batch, i in self._played]

    @property
    def simulator(self) -> Simulator:
        """Where the episodes stand; raises ResetNeeded before the first reset."""
        return self._running()

    @property
    def action_names(self) -> list[str]:
        """A name for every index of the single action."""
        return names_of_actions(self.compiled)

    # Reset ---------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Start all episodes, or those of ``options["reset_mask"]``."""
        check_options(options, ("instances", "reset_mask"))
        options = options or {}
        rows = self._rows(options.get("reset_mask"))
        seeds = seed_list(seed, self.num_envs)
        super().reset(seed=None if seed is None else seeds[0])
        chosen = self._reseed(seeds, rows)
        if "instances" in options:
            batch = self._given(options["instances"], len(rows))
        else:
            batch = self._next_batch(rows, chosen)
        self._begin(rows, batch)
        infos: Info = {}
        fresh = np.zeros(self.num_envs, dtype=np.bool_)
        fresh[rows] = True
        _add(infos, KEYS, np.zeros((len(KEYS), self.num_envs)), fresh)
        self._add_seeds(infos, rows, batch)
        return self._shown(self._observer.observe(self._running())), infos

    def _rows(self, mask: Bools | None) -> NDArray[np.intp]:
        """Indices of the environments to reset; raises ValueError for a mask of a wrong kind."""
        if mask is None:
            return np.arange(self.num_envs)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(
                f"options['reset_mask']: must be a NumPy array of bool with shape ({self.num_envs},)"
            )
        if not mask.any():
            raise ValueError("options['reset_mask']: must be True for at least one environment")
        if self._simulator is None and not mask.all():
            raise ResetNeeded("no episodes yet: the first reset() must be of all environments")
        return np.flatnonzero(mask)

    def _reseed(self, seeds: list[int | None], rows: NDArray[np.intp]) -> dict[int, int]:
        """Give the environments their generators; return the seeds of the rows that were seeded now."""
        if self._generators is None:
            self._generators = [seeding.np_random(seed)[0] for seed in seeds]
            return {int(i): seed for i in rows if (seed := seeds[i]) is not None}
        chosen = {}
        for i in rows:
            seed = seeds[i]
            if seed is not None:
                self._generators[i] = seeding.np_random(seed)[0]
                chosen[int(i)] = seed
        return chosen

    def _next_batch(self, rows: NDArray[np.intp], chosen: dict[int, int]) -> InstanceBatch:
        """The next episodes of ``rows``: of the given seed, else of one that the own generator draws."""
        generators = self._generators
        assert generators is not None
        seeds = [
            chosen[i] if i in chosen else int(generators[i].integers(DRAWN_SEEDS)) for i in rows.tolist()
        ]
        return self._source.batch(seeds)

    def _given(self, instances: Sequence[str | Path | Instance], count: int) -> InstanceBatch:
        """The episodes given in the options."""
        if not isinstance(instances, Sequence) or isinstance(instances, str):
            raise ValueError(
                f"options['instances'] = {instances!r}: must be a list of instances (or of their files), one "
                "for each environment to reset; leave it out for episodes of the environments' own"
            )
        if len(instances) != count:
            raise ValueError(f"options['instances']: {len(instances)} given, {count} environments to reset")
        return self._source.of_instances(instances)

    def _begin(self, rows: NDArray[np.intp], batch: InstanceBatch) -> None:
        """Put the episodes of ``batch`` at the places ``rows``."""
        if len(rows) == self.num_envs:
            same = batch.compiled.hash == self.layout.compiled.hash
            if not same:
                self.layout = ObservationLayout(batch.compiled)
            if same and self._simulator is not None:
                self._observer.replace(rows, batch)
            else:
                self._observer = Observer(batch, self.layout)
            self._simulator = Simulator(batch)
            self._played = [(batch, i) for i in range(self.num_envs)]
            self._totals = np.zeros((len(KEYS), self.num_envs))
            self._elapsed = np.zeros(self.num_envs, dtype=np.intp)
            self._over = np.zeros(self.num_envs, dtype=np.bool_)
            self._last: tuple[Flows, Outcome] | None = None
            return
        if batch.compiled.hash != self.layout.compiled.hash:
            raise ValueError(
                "options['instances']: were of another scenario than the environments' own, which would "
                "begin now beside them; reset all environments at the end of such episodes"
            )
        self._running().replace(rows, batch)
        self._observer.replace(rows, batch)
        for i, row in enumerate(rows.tolist()):
            self._played[row] = (batch, i)
        self._totals[:, rows], self._elapsed[rows], self._over[rows] = 0.0, 0, False

    # Step ----------------------------------------------------------------------------------------

    def step(self, actions: NDArray[np.float32]) -> tuple[Any, NDArray[np.float64], Bools, Bools, Info]:
        """Advance all episodes; raises ValueError for a wrong action, ResetNeeded where one is over."""
        simulator = self._running()
        if self._over.any():
            raise ResetNeeded(
                f"environments {np.flatnonzero(self._over).tolist()} are over: reset them first"
            )
        checked = checked_action(actions, self.action_space.shape or ())
        before = simulator.exogenous
        self._last = simulator.step(checked)
        figures = step_figures(simulator, before, *self._last)
        self._totals = add_step(self._totals, figures)
        self._elapsed = self._elapsed + 1
        rewards = figures[0] / self.layout.compiled.reward_scale_usd
        terminated = simulator.done
        truncated = np.zeros_like(terminated)
        if self.max_episode_steps is not None:
            truncated = self._elapsed >= self.max_episode_steps
        self._over = terminated | truncated
        infos: Info = {}
        observation = self._observer.observe(simulator)
        if not self._over.any():
            _add(infos, KEYS, figures, np.ones(self.num_envs, dtype=np.bool_))
        elif self.autoreset_mode is AutoresetMode.DISABLED:
            self._add_final(infos, figures, terminated, np.ones(self.num_envs, dtype=np.bool_))
        else:
            observation = self._restart(infos, observation, figures, terminated)
        return self._shown(observation), rewards, terminated, truncated, infos

    def _restart(
        self, infos: Info, observation: NDArray[np.float32], figures: NDArray[np.float64], terminated: Bools
    ) -> NDArray[np.float32]:
        """Begin new episodes where one is over; keep what the old ones ended with in ``infos``."""
        over = self._over
        rows = np.flatnonzero(over)
        final: Info = {}
        self._add_final(final, figures, terminated, over)
        ends = np.full(self.num_envs, None, dtype=object)
        for i in rows.tolist():
            row = observation[i].copy()
            ends[i] = row if self.flat_observations else self.layout.as_dict(row)
        infos |= {
            "final_obs": ends,
            "_final_obs": over.copy(),
            "final_info": final,
            "_final_info": over.copy(),
        }
        batch = self._next_batch(rows, {})
        self._begin(rows, batch)
        _add(infos, KEYS, np.where(over, 0.0, figures), np.ones(self.num_envs, dtype=np.bool_))
        self._add_seeds(infos, rows, batch)
        return self._observer.observe(self._running())

    def _add_final(self, infos: Info, figures: NDArray[np.float64], terminated: Bools, rows: Bools) -> None:
        """Figures of the step of ``rows``, and totals of those whose episode reached its end."""
        _add(infos, KEYS, figures * rows, rows)
        ended = terminated & rows
        if ended.any():
            _add(infos, EPISODE_KEYS, self._totals * ended, ended)

    def _add_seeds(self, infos: Info, rows: NDArray[np.intp], batch: InstanceBatch) -> None:
        """Seeds of the episodes that begin."""
        seeds, mask = np.zeros(self.num_envs, dtype=np.int64), np.zeros(self.num_envs, dtype=np.bool_)
        seeds[rows], mask[rows] = batch.seeds, True
        infos |= {"instance_seed": seeds, "_instance_seed": mask}

    def _shown(self, flat: NDArray[np.float32]) -> Any:
        return flat if self.flat_observations else self.layout.as_dict(flat)

    def _running(self) -> Simulator:
        if self._simulator is None:
            raise ResetNeeded("no episodes yet: call reset() first")
        return self._simulator

    # Pictures, states ----------------------------------------------------------------------------

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return a picture of each environment's last step; None without a render mode."""
        simulator = self._running()
        if self.render_mode is None:
            gym.logger.warn(
                "render() without a render mode: make the environments with render_mode='rgb_array'"
            )
            return None
        if self._renderer is None or self._renderer_hash != self.layout.compiled.hash:
            self._renderer = make_renderer(self.layout.compiled)
            self._renderer_hash = self.layout.compiled.hash
        instances, totals = self.instances, self._totals.T.tolist()
        return tuple(
            frame_of(
                self._renderer,
                instances[b],
                simulator,
                self._last,
                dict(zip(KEYS, totals[b], strict=True)),
                b,
            )
            for b in range(self.num_envs)
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Let the picture go."""
        self._renderer = None

    def get_state(self) -> dict[str, Any]:
        """Everything that `set_state` needs to go on from here bit for bit; can be pickled."""
        running = self._running()
        assert self._generators is not None
        return {
            "instances": self.instances,
            "simulator": running.get_state(),
            "totals": self._totals.copy(),
            "elapsed": self._elapsed.copy(),
            "over": self._over.copy(),
            "last": self._last,
            "generators": copy.deepcopy(self._generators),
            "np_random": copy.deepcopy(self.np_random),
            "np_random_seed": self._np_random_seed,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to where `get_state` was called, in these or other environments of the same scenario."""
        self._begin(np.arange(self.num_envs), self._given(state["instances"], self.num_envs))
        self._running().set_state(state["simulator"])
        self._totals, self._elapsed = state["totals"].copy(), state["elapsed"].copy()
        self._over, self._last = state["over"].copy(), state["last"]
        self._generators = copy.deepcopy(state["generators"])
        self._np_random, self._np_random_seed = copy.deepcopy(state["np_random"]), state["np_random_seed"]

    def __getstate__(self) -> dict[str, Any]:
        """Pictures are not copied."""
        return self.__dict__ | {"_renderer": None}


def _add(infos: Info, keys: tuple[str, ...], values: NDArray[np.float64], rows: Bools) -> None:
    """Put values [len(keys),B] and masks into ``infos`` as new arrays."""
    masks = np.repeat(rows[None], len(keys), axis=0)
    for key, value, mask in zip(keys, np.array(values), masks, strict=True):
        infos[key] = value
        infos["_" + key] = mask
