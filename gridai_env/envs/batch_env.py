"""Reset, step and snapshots of a batch, for NumPy and for torch.

Everything about time is known on the host (`simulator.t`), so that a step reads nothing from a device.  Figures, flags
and totals lie where the numbers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from gridai_env.arrays.ops import copied, namespace, zeros
from gridai_env.arrays.types import Array, Bool, Bools, Float, Index
from gridai_env.envs.arguments import checked_options, checked_step, seed_list
from gridai_env.envs.batch_spaces import BatchSpaces, Info
from gridai_env.envs.episode_supply import EpisodeBatch, EpisodeSupply, HostEpisodeSupply, Supplied, ToArrays
from gridai_env.envs.observer import Observer
from gridai_env.envs.options import VectorOptions
from gridai_env.envs.prepared import Prepared
from gridai_env.envs.simulator import Wrap
from gridai_env.envs.step_figures import EPISODE_KEYS, KEYS, add_step
from gridai_env.envs.step_kernel import make_room
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled

# To so many steps `stagger` spreads episodes: what begins a few of them should not be needed in every step.
FIRST_STEPS = 16
RESET_OPTIONS = ("instances", "reset_mask", "start", "first_step")


class BatchEnv(BatchSpaces):
    """B episodes, played together; what depends on the kind of arrays stands in the classes that inherit this one."""

    _books: tuple[str, ...] = ("_totals", "_elapsed", "_over", "_part")
    _totals: Float[Array, "keys B"]
    _part: Bool[Bools, " B"]  # whose episode began midway
    _supply: EpisodeSupply

    def __init__(
        self,
        options: VectorOptions,
        like: Array,
        to_arrays: ToArrays,
        kernels: bool,
        copy: bool = True,
        wrap: Wrap | None = None,
    ) -> None:
        """Open the scenario and make room for episodes beside ``like``.

        ``kernels``: each step is one compiled function; ``copy``: see `Observer`; ``wrap``: see `Simulator.room_for`.
        Raise ValueError (ScenarioError, InstanceError, ...) where that fails.
        """
        super().__init__(options)
        self.like, self._kernels, self._copy, self._wrap = like, kernels, copy, wrap
        # Episodes are supplied for groups, and placed in all their environments.
        self._host = HostEpisodeSupply(self._source, self.num_groups, to_arrays)
        self._supply = self._host
        self._make(self.compiled)

    def _make(self, compiled: Compiled) -> None:
        """Make simulator and observer for episodes of a scenario (the own, or that of given instances)."""
        if self.layout.compiled.hash != compiled.hash:
            self.layout = ObservationLayout(compiled)
        self._simulator = make_room(self.layout, self.num_envs, self.like, self._kernels, self._wrap)
        self._observer, self._begun = Observer(self._simulator, self._copy, self._wrap), False

    # Kinds of arrays -----------------------------------------------------------------------------

    def _here(self, x: Bools | Index) -> Array:
        """Return a copy of a small array of the host, where the numbers lie."""
        return x.copy()

    def _checked(self, actions: Any) -> Array:
        """Return actions [B,A] where the numbers lie; raises ValueError for wrong ones."""
        raise NotImplementedError

    def _last_seen(self, observation: Float[Array, "B N"], rows: Index) -> tuple[Any, Array]:
        """Return the last observations of ``rows`` as infos show them, and an array for the next ones."""
        raise NotImplementedError

    def _count(self, figures: Float[Array, "keys B"], wrong: Bool[Array, " B"]) -> None:
        """Add a step to the books."""
        self._totals = add_step(self._totals, figures)
        self._elapsed = self._elapsed + 1

    def _at_ends(self) -> None:
        """Do what is due when episodes end."""

    def _seed_list(self, seed: Any) -> list[int | None] | None:
        """Return the seeds that the supply takes, or None; raises ValueError for wrong ones."""
        return None if seed is None else seed_list(seed, self.num_groups)

    # Reset ---------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Start all episodes, or those of ``options["reset_mask"]`` (bool [B])."""
        options = checked_options(options, RESET_OPTIONS)
        rows = self._rows(options.get("reset_mask"))
        groups, seeds = self._groups(rows), self._seed_list(seed)
        # Wrong arguments are refused before anything changes.
        first = checked_step(options.get("first_step", 0), self.layout.compiled.shape.steps)
        super().reset(seed=None if seeds is None else seeds[0])

        batches: Iterable[Supplied]
        if "instances" in options:
            batches = [self._given(groups, options["instances"])]
            if seeds:
                self._supply.seed(groups, seeds)
        else:
            batches = self._next_episodes(groups, seeds, options.get("start"))

        t = np.zeros(self.num_envs, dtype=np.intp)
        if self.stagger and len(rows) == self.num_envs and "instances" not in options:
            t = self._staggered()
        if "first_step" in options:
            t[rows] = first

        self._begin(rows, batches, t)
        infos = self._infos(self._zeros(), self._here(self._mask(rows)))
        return self._shown(self._observer.observe()), infos

    def _staggered(self) -> Index:
        """Return first steps spread over the horizon: episodes do not all end (and are not all made) in one step."""
        count = min(self.num_groups, self._longest, FIRST_STEPS)
        t = np.arange(self.num_groups) * count // self.num_groups * self._longest // count
        return np.repeat(t, self.group)

    @property
    def _longest(self) -> int:
        """Most steps of an episode."""
        steps = self.layout.compiled.shape.steps
        return steps if self.max_episode_steps is None else min(steps, self.max_episode_steps)

    def _next_episodes(
        self, groups: Index, seeds: list[int | None] | None = None, start: Any = None
    ) -> Iterator[Supplied]:
        """Return the next episodes of the environments' own."""
        starts = self._source.starts(groups, start)
        if self.layout.compiled.hash != self.compiled.hash:
            if len(groups) < self.num_groups:
                raise self._foreign()
            self._make(self.compiled)
        return self._supply.next_episodes(groups, seeds, self._simulator.prepare, starts)

    def _given(self, groups: Index, instances: Any) -> Supplied:
        """Return the episodes given in the options."""
        self._check_given(instances, len(groups))
        batch, episodes = self._host.given(groups, instances)
        self._fit(batch, episodes.compiled)
        return batch, self._simulator.prepare(episodes)

    def _fit(self, batch: EpisodeBatch, compiled: Compiled) -> None:
        """Make simulator and observer anew where given instances are of another scenario."""
        if compiled.hash == self.layout.compiled.hash:
            return
        if len(batch.rows) < self.num_groups:
            raise ValueError(
                "options['instances']: belong to another scenario than the episodes that go on beside them; reset "
                "all environments with such instances"
            )
        self._make(compiled)

    def _begin(self, rows: Index, batches: Iterable[Supplied], t: Index) -> None:
        """Put new episodes at the places ``rows``, at steps ``t`` [num_envs]."""
        if not self._begun:
            self._set_out()
        if len(rows) == self.num_envs:
            self._simulator.clear()
        self._begun = False  # where making some of the episodes fails
        for batch, episodes in batches:
            self._place(batch, episodes, batch.rows, t)
        self._begun = True

        # New arrays: the old ones may be in use where one episode follows another.
        mask = self._here(self._mask(rows))
        self._totals = namespace(self._totals).where(mask, 0.0, copied(self._totals))
        self._elapsed, self._over, self._part = self._elapsed.copy(), self._over.copy(), self._part.copy()
        self._elapsed[rows], self._over[rows], self._part[rows] = t[rows], False, t[rows] > 0
        self._show_books()

    def _set_out(self) -> None:
        """Start the books of environments that have not begun."""
        b = self.num_envs
        self._totals, self._elapsed = self._zeros(), np.zeros(b, dtype=np.intp)
        self._over, self._part = np.zeros(b, dtype=np.bool_), np.zeros(b, dtype=np.bool_)
        self._batches: list[EpisodeBatch] = []

    def _zeros(self) -> Float[Array, "keys B"]:
        """Return figures of no step."""
        return zeros((len(KEYS), self.num_envs), self.like)

    def _place(self, batch: EpisodeBatch, episodes: Prepared, groups: Index, t: Index) -> None:
        """Begin episodes in groups, at steps ``t`` [num_envs], and remember whence they came."""
        rows = self._members(groups)
        if self.group > 1:
            episodes = episodes.take(np.repeat(np.arange(len(groups)), self.group))
        self._simulator.begin(rows, episodes, t[rows])
        left = [older.without(groups) for older in self._batches]
        self._batches = [older for older in left if older is not None] + [batch]

    def _show_books(self) -> None:
        """Put what every ``infos`` shows of the episodes where the numbers lie; it stays there until one begins."""
        seeds = np.full(self.num_groups, -1, dtype=np.int64)
        for batch in self._batches:
            if batch.seeds is not None:
                played = batch.rows >= 0
                seeds[batch.rows[played]] = batch.seeds[played]
        seeds = np.repeat(seeds, self.group)
        self._shown_seeds, self._seeded = self._here(seeds), self._here(seeds >= 0)
        self._whole = self._here(~self._part)

    # Step ----------------------------------------------------------------------------------------

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, Info]:
        """Advance all episodes; raises ValueError for a wrong action, ResetNeeded where one is over."""
        checked = self._checked(actions)
        begins = self._begun and self.autoreset_mode is AutoresetMode.NEXT_STEP and self._over.any()
        figures = self._begin_beside(checked) if begins else self._advance(checked)

        rewards = figures[0] / self.layout.compiled.reward_scale_usd
        terminated, truncated = self._simulator.done, self._truncated()
        self._over = terminated | truncated
        ended, cut = self._here(terminated), self._here(truncated)

        observation, is_over = self._observer.observe(), self._over.any()
        if is_over:
            self._at_ends()
        if is_over and self.autoreset_mode is AutoresetMode.SAME_STEP:
            observation, infos = self._restart(observation, figures)
        else:
            infos = self._infos(figures, self._everyone())
        return self._shown(observation), rewards, ended, cut, infos

    def _advance(self, actions: Array) -> Float[Array, "keys B"]:
        """Advance all episodes and return the figures of the step; raises ResetNeeded where one is over."""
        figures, wrong = self._ready().step_figures(actions)
        self._count(figures, wrong)
        return figures

    def _begin_beside(self, actions: Array) -> Float[Array, "keys B"]:
        """Begin episodes where one is over, in place of a step; advance the others."""
        over = self._here(self._over)
        rows, t = np.flatnonzero(self._over), np.zeros(self.num_envs, dtype=np.intp)
        batches = list(self._next_episodes(self._groups(rows)))
        self._begin(rows, batches, t)
        figures = self._advance(actions)
        self._begin(rows, batches, t)  # one simulator advances all: the step of these did not count
        return namespace(figures).where(over, 0.0, figures)

    def _restart(self, observation: Float[Array, "B N"], figures: Array) -> tuple[Array, Info]:
        """Begin new episodes where one is over; keep what the old ones ended with in the infos."""
        rows, over = np.flatnonzero(self._over), self._here(self._over)
        final = self._infos(figures * over, over)
        ended, observation = self._last_seen(observation, rows)

        self._begin(rows, self._next_episodes(self._groups(rows)), np.zeros(self.num_envs, dtype=np.intp))
        left = namespace(figures).where(over, 0.0, figures)
        infos = self._infos(left, self._everyone()) | {
            "final_obs": ended,
            "_final_obs": over,
            "final_info": final,
            "_final_info": over,
        }
        if len(rows) == self.num_envs:
            return self._observer.observe(into=observation), infos
        self._observer.renew(observation, rows)
        return observation, infos

    def _everyone(self) -> Bool[Array, " B"]:
        return self._here(np.ones(self.num_envs, dtype=np.bool_))

    def _infos(self, figures: Float[Array, "keys B"], rows: Bool[Array, " B"]) -> Info:
        """Return figures, totals and seeds, those of ``rows``, with their masks; totals of whole episodes alone."""
        whole = rows & self._whole
        infos: Info = {"instance_seed": copied(self._shown_seeds), "_instance_seed": rows & self._seeded}
        for keys, values, mask in ((KEYS, figures, rows), (EPISODE_KEYS, self._totals * whole, whole)):
            for key, value in zip(keys, values, strict=True):
                infos[key], infos["_" + key] = value, mask
        return infos

    # Snapshots -----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return everything that `set_state` needs to continue bit for bit; can be pickled.

        Episodes are kept as seeds, given instances, or states of the device's generator: they are made again.
        """
        return {
            "scenario": self.compiled.hash,
            "made_with": self._made_with(),
            "batches": list(self._batches),
            "simulator": self.simulator.get_state(),
            "supplies": (self._supply.get_state(), self._host.get_state()),
            "books": self._get_books(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to where `get_state` was called, in these or other environments of the same scenario.

        Raise ValueError for a snapshot of another scenario, of environments of other sizes or kinds, or of an earlier
        version.
        """
        self._check_snapshot(state)
        compiled, where = self._host.compiled_of(state["batches"][0]), state["simulator"]
        if compiled.hash != self.layout.compiled.hash:
            self._make(compiled)
        self._set_out()
        self._simulator.clear()
        self._begun = False

        for batch in state["batches"]:
            supply = self._supply if batch.kind == "drawn" else self._host
            episodes = supply.rebuild(batch, self._simulator.prepare)
            alive = np.flatnonzero(batch.rows >= 0)
            self._place(batch, episodes.take(alive), batch.rows[alive], where["t"])

        self._simulator.set_state(where, placed=True)
        self._set_books(state["books"])
        self._show_books()
        for one, own in zip((self._supply, self._host), state["supplies"], strict=True):
            one.set_state(own)
        self._begun = True
