"""Many episodes at once: one simulator of B, no Python loop over environments in a step.

Environment i of the batch is the single environment with the same seed, bit for bit, over all its episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gridai_env.arrays.types import AnyFloats, Bools, Floats, Floats32, Index, Ints
from gridai_env.envs.arguments import checked_action, checked_options, seed_list
from gridai_env.envs.batch_env import BatchEnv, Info
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.envs.episode_source import EpisodeSeeds
from gridai_env.envs.observer import Observer
from gridai_env.envs.options import VectorOptions, keywords_of
from gridai_env.envs.pictures import Pictures
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.step_figures import INFO_KEYS, KEYS, add_step
from gridai_env.envs.step_kernel import make_room
from gridai_env.episodes.instance import Instance, InstanceBatch
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled


class GridAIVectorEnv(BatchEnv[Simulator]):
    """`GridAIEnv` B times; arguments, spaces, rewards and figures as there, all arrays with a leading B.

    ``autoreset_mode``: ``AutoresetMode.SAME_STEP`` (default; a finished environment starts anew in the
    same step, its last observation and figures are in ``infos["final_obs"]`` and ``infos["final_info"]``)
    or ``NEXT_STEP`` (in the step after, whose action does not count; Gymnasium's wrappers of observations ask
    for it) or ``DISABLED`` (reset with ``options={"reset_mask": mask}``).  ``flat_observations=True``:
    observations are one array [B,N] in place of the Dict.  ``max_episode_steps``: truncate after so many
    steps. ``reset(seed=s)`` seeds environment i with s + i; a list gives each its own seed (None: go on).
    ``options={"instances": [...]}`` plays given instances (or their files), one for each environment that
    is reset.  ``options={"start": ...}`` and ``start=``: a UTC time for all, or a list with one for each.
    ``group=16``: 16 neighbours play the same episode at the same time, each with actions of its own; seeds,
    instances and starts are then one for each group (seed s: s + g for group g), and groups begin together.
    Every call returns new arrays; the parts of a Dict observation are views of one new array.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's type
        "render_modes": ["rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    _books = (*BatchEnv._books, "_seeds")

    @keywords_of(VectorOptions)
    def __init__(self, options: VectorOptions) -> None:
        """Open the scenario; raises ValueError (ScenarioError, InstanceError, ...) where that fails."""
        super().__init__(options)
        self._seeds, self._compiles = EpisodeSeeds(self.num_groups), bool(options.compile)
        self._observer: Observer
        self._totals: Floats
        self._instance_seeds: Ints
        self._pictures = Pictures()

    @property
    def instances(self) -> list[Instance]:
        """The episodes that are played now; raises ResetNeeded before the first reset."""
        _ = self.simulator  # there are episodes
        return [batch[i] for batch, i in self._played]

    # Reset ---------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Start all episodes, or those of ``options["reset_mask"]``."""
        options = checked_options(options, ("instances", "reset_mask", "start"))
        rows = self._rows(options.get("reset_mask"))
        groups, seeds = self._groups(rows), seed_list(seed, self.num_groups)
        super().reset(seed=None if seed is None else seeds[0])
        self._seeds.seed(groups, seeds)

        if "instances" in options:
            batch = self._given(options["instances"], len(groups))
        else:
            starts = self._source.starts(groups, options.get("start"))
            batch = self._source.batch(self._seeds.draw(groups, seeds), starts, self.group)

        self._begin(rows, batch)
        infos = self._infos(np.zeros((len(KEYS), self.num_envs)), self._mask(rows))
        return self._shown(self._observer.observe()), infos

    def _given(self, instances: Sequence[str | Path | Instance], count: int) -> InstanceBatch:
        """Return the episodes given in the options."""
        self._check_given(instances, count)
        return self._source.of_instances(instances, self.group)

    def _begin(self, rows: Index, batch: InstanceBatch, t: Index | None = None) -> None:
        """Put the episodes of ``batch`` at the places ``rows``, at their first steps or at steps ``t``."""
        everyone = len(rows) == self.num_envs
        if batch.compiled.hash != self.layout.compiled.hash and not everyone:
            # Episodes that go on beside new ones share one simulator, hence one scenario.
            raise self._foreign()
        self._make(batch.compiled)
        self._simulator.begin(rows, self._simulator.prepare(EpisodeArrays.of(batch)), t)
        for i, row in enumerate(rows.tolist()):
            self._played[row] = (batch, i)
        # New arrays: the old ones may be in use where one episode follows another.
        self._totals, self._elapsed, self._over = self._totals.copy(), self._elapsed.copy(), self._over.copy()
        self._totals[:, rows], self._elapsed[rows], self._over[rows] = 0.0, 0, False
        self._instance_seeds[rows] = batch.seeds

    def _make(self, compiled: Compiled) -> None:
        """Make room for episodes of a scenario, unless there is."""
        if self._begun and compiled.hash == self.layout.compiled.hash:
            return
        if compiled.hash != self.layout.compiled.hash:
            self.layout = ObservationLayout(compiled)
        self._simulator = make_room(self.layout, self.num_envs, np.empty(0), self._compiles)
        self._observer, self._begun = Observer(self._simulator), True
        self._played: list[tuple[InstanceBatch, int]] = [(None, 0)] * self.num_envs  # type: ignore[list-item]
        self._totals = np.zeros((len(KEYS), self.num_envs))
        self._elapsed = np.zeros(self.num_envs, dtype=np.intp)
        self._over = np.zeros(self.num_envs, dtype=np.bool_)
        self._instance_seeds = np.zeros(self.num_envs, dtype=np.int64)

    # Step ----------------------------------------------------------------------------------------

    def step(self, actions: Floats32) -> tuple[Any, Floats, Bools, Bools, Info]:
        """Advance all episodes; raises ValueError for a wrong action, ResetNeeded where one is over."""
        checked = checked_action(actions, self.action_space.shape or ())
        begins = self._begun and self.autoreset_mode is AutoresetMode.NEXT_STEP and self._over.any()
        figures = self._begin_beside(checked) if begins else self._advance(checked)

        rewards = figures[0] / self.layout.compiled.reward_scale_usd
        simulator = self.simulator
        terminated = simulator.done
        truncated = self._truncated()
        self._over = terminated | truncated

        observation = self._observer.observe()
        if self._over.any() and self.autoreset_mode is AutoresetMode.SAME_STEP:
            observation, infos = self._restart(observation, figures)
        else:
            infos = self._infos(figures, np.ones(self.num_envs, dtype=np.bool_))
        return self._shown(observation), rewards, terminated, truncated, infos

    def _advance(self, actions: AnyFloats) -> Floats:
        """Advance all episodes and return the figures of the step; raises ResetNeeded where one is over."""
        figures, _ = self._ready().step_figures(actions)
        self._totals = add_step(self._totals, figures)
        self._elapsed = self._elapsed + 1
        return figures

    def _begin_beside(self, actions: AnyFloats) -> Floats:
        """Begin episodes where one is over, in place of a step; advance the others."""
        rows = np.flatnonzero(self._over)
        batch = self._next(rows)
        self._begin(rows, batch)
        figures = self._advance(actions)
        self._begin(rows, batch)  # one simulator advances all: the step of these did not count
        figures[:, rows] = 0.0
        return figures

    def _restart(self, observation: Floats32, figures: Floats) -> tuple[Floats32, Info]:
        """Begin new episodes where one is over; keep what the old ones ended with in the infos."""
        over = self._over
        rows = np.flatnonzero(over)
        final = self._infos(figures * over, over)

        # One observation per place, None elsewhere: the form that Gymnasium's wrappers expect.
        ends = np.full(self.num_envs, None, dtype=object)
        for i in rows.tolist():
            row = observation[i].copy()
            ends[i] = row if self.flat_observations else self.layout.as_dict(row)
        self._begin(rows, self._next(rows))
        infos = self._infos(np.where(over, 0.0, figures), np.ones(self.num_envs, dtype=np.bool_)) | {
            "final_obs": ends,
            "_final_obs": over.copy(),
            "final_info": final,
            "_final_info": over.copy(),
        }
        return self._observer.observe(), infos

    def _next(self, rows: Index) -> InstanceBatch:
        """Return the next episodes of the environments' own."""
        groups = self._groups(rows)
        return self._source.batch(self._seeds.draw(groups), self._source.starts(groups), self.group)

    def _infos(self, figures: Floats, rows: Bools) -> Info:
        """Return figures [len(KEYS),B], totals and seeds, those of ``rows``, as new arrays with their masks."""
        values = np.concatenate([figures, self._totals * rows])
        masks = np.repeat(rows[None], len(INFO_KEYS) + 1, axis=0)
        infos: Info = {}
        for key, value, mask in zip(INFO_KEYS, values, masks, strict=False):
            infos[key], infos["_" + key] = value, mask
        return infos | {"instance_seed": self._instance_seeds.copy(), "_instance_seed": masks[-1]}

    # Pictures, states ----------------------------------------------------------------------------

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return a picture of each environment's last step; None without a render mode."""
        simulator = self.simulator
        if self.render_mode is None:
            gym.logger.warn(
                "render() without a render mode: make the environments with render_mode='rgb_array'"
            )
            return None
        instances, last = self.instances, simulator.last_step()
        return tuple(
            self._pictures.frame(instances[b], simulator, last, self._totals, b) for b in range(self.num_envs)
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Release the renderer."""
        self._pictures.clear()

    def get_state(self) -> dict[str, Any]:
        """Return everything that `set_state` needs to continue bit for bit; can be pickled."""
        state = {"simulator": self.simulator.get_state(), "books": self._get_books()}
        return {"group": self.group, "instances": self.instances[:: self.group]} | state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to where `get_state` was called, in these or other environments of the same scenario."""
        self._check_group(state)
        batch, where = self._given(state["instances"], self.num_groups), state["simulator"]
        self._make(batch.compiled)
        self._simulator.ring.row = where["row"]  # episodes are written relative to the present row
        self._begin(np.arange(self.num_envs), batch, where["t"])
        self.simulator.set_state(where)
        self._set_books(state["books"])
