"""Many episodes at once: one simulator of B, no Python loop over environments in a step.

Environment i of the batch is the single environment with the same seed, bit for bit, over all its episodes.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gridai_env.arrays.types import AnyFloats, Floats32, Index
from gridai_env.envs.arguments import checked_action
from gridai_env.envs.batch_env import BatchEnv
from gridai_env.envs.episode_arrays import EpisodeArrays
from gridai_env.envs.options import VectorOptions, keywords_of
from gridai_env.envs.pictures import Pictures
from gridai_env.episodes.instance import Instance


class GridAIVectorEnv(BatchEnv):
    """`GridAIEnv` B times; arguments, spaces, rewards and figures as there, all arrays with a leading B.

    ``autoreset_mode``: ``AutoresetMode.SAME_STEP`` (default; a finished environment starts anew in the
    same step, its last observation and figures are in ``infos["final_obs"]`` and ``infos["final_info"]``)
    or ``NEXT_STEP`` (in the step after, whose action does not count; Gymnasium's wrappers of observations ask
    for it) or ``DISABLED`` (reset with ``options={"reset_mask": mask}``).  ``flat_observations=True``:
    observations are one array [B,N] in place of the Dict.  ``max_episode_steps``: truncate after so many
    steps. ``reset(seed=s)`` seeds environment i with s + i; a list gives each its own seed (None: go on).
    ``options={"instances": [...]}`` plays given instances (or their files), one for each environment that
    is reset.  ``options={"start": ...}`` and ``start=``: a UTC time for all, or a list with one for each.
    ``options={"first_step": t}`` begins late, at step t: nothing queued, the sessions of the step before at home;
    totals of such a part of an episode are not shown (their mask is False).
    ``group=16``: 16 neighbours play the same episode at the same time, each with actions of its own; seeds,
    instances and starts are then one for each group (seed s: s + g for group g), and groups begin together.
    Every call returns new arrays; the parts of a Dict observation are views of one new array.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's type
        "render_modes": ["rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    @keywords_of(VectorOptions)
    def __init__(self, options: VectorOptions) -> None:
        """Open the scenario; raises ValueError (ScenarioError, InstanceError, ...) where that fails."""
        super().__init__(options, np.empty(0), EpisodeArrays.of, bool(options.compile))
        self._pictures = Pictures()

    def _checked(self, actions: Floats32) -> AnyFloats:
        return checked_action(actions, self.action_space.shape or ())

    def _last_seen(self, observation: Floats32, rows: Index) -> tuple[Any, Floats32]:
        # One observation per place, None elsewhere: the form that Gymnasium's wrappers expect.
        ends = np.full(self.num_envs, None, dtype=object)
        for i in rows.tolist():
            row = observation[i].copy()
            ends[i] = row if self.flat_observations else self.layout.as_dict(row)
        return ends, observation

    # Pictures ------------------------------------------------------------------------------------

    @property
    def instances(self) -> list[Instance]:
        """The episodes that are played now; raises ResetNeeded before the first reset."""
        _ = self.simulator  # there are episodes
        played: dict[int, Instance] = {}
        for batch in self._batches:
            made = self._host.instances(batch)
            played |= {row: made[i] for i, row in enumerate(batch.rows.tolist()) if row >= 0}
        return [played[row // self.group] for row in range(self.num_envs)]

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
