"""Many episodes at once on one device: Gymnasium's vector interface, all of it tensors.

Everything about time is known on the host (`simulator.t`), so a step reads nothing from the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from gridai_env.arrays.torch_ops import moved
from gridai_env.arrays.types import AnyFloats, Bools, Index
from gridai_env.envs.arguments import checked_options, checked_step, plain_seed, seed_list
from gridai_env.envs.batch_env import BatchEnv, Info
from gridai_env.envs.observer import Observer
from gridai_env.envs.options import TorchVectorOptions, keywords_of
from gridai_env.envs.prepared import Prepared
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.step_figures import EPISODE_KEYS, KEYS, add_step
from gridai_env.envs.step_kernel import make_room
from gridai_env.envs.torch import episode_supply
from gridai_env.envs.torch.arguments import checked_actions, checked_device, checked_dtype
from gridai_env.envs.torch.compiled_step import Traced
from gridai_env.envs.torch.generate import TorchEpisodeGenerator
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled

# To so many steps `stagger` spreads episodes: what begins a few of them should not be needed in every step.
FIRST_STEPS = 16


class GridAITorchVectorEnv(BatchEnv[Simulator]):
    """`GridAIVectorEnv` on a torch device; arguments, spaces, rewards and figures as there, but tensors.

    ``device``: any of torch ("cpu", "cuda", "cuda:1").  ``dtype``: "float32" or "float64", of the physics,
    rewards and figures; observations are float32 [B,N], the batch axis innermost in memory.

    ``episodes``: "host" makes those of `GridAIVectorEnv` (the same for the same seeds) and uploads them;
    "device" draws synthetic ones on the device, from one generator that ``reset(seed=s)`` seeds.  None:
    "device" where the scenario's traces and demand are synthetic and no instance is given.  Only host episodes
    have seeds of their own (``infos["instance_seed"]``; the others show -1).

    ``spikes``: share of the episodes drawn on the device whose prices spike about ten times as often as their zone
    is calibrated, and eight times as far: who learns in calm months is prepared for others.
    ``shortages``: share of them in which a zone runs short of power: for 6 to 96 hours its price stands at a level
    between 500 and 10,000 USD/MWh.

    ``stagger=True``: the episodes that a reset of all environments begins start midway, at up to 16 steps
    spread evenly (those of a group at the same one), so that they do not all end together; later ones are whole.
    Totals of such a part of an episode are not shown (their mask is False).

    ``copy=True``: every call returns new tensors, which stay as they are.  ``copy=False``: observations are one
    of two tensors in turn, valid until the next call but one, and ``infos["final_obs"]`` is always the same one,
    valid until the next episode ends; rewards, flags and figures are new ones in either case.
    ``compile=True`` runs a step on a processor as one compiled function without gradients (as `GridAIEnv` does), on a
    CUDA device as ``compile="torch"`` does everywhere: fused by torch's compiler, with gradients.  ``graphs=True``
    replays that as a CUDA graph besides (no gradients then).  Otherwise rewards carry gradients where the actions do.

    Actions are tensors [B,A] on the device; NumPy arrays are checked at once and uploaded.  Tensors are not
    looked into while stepping: a value outside of [-1, 1] or NaN raises ValueError at a reset, or at the end of
    an episode, but at the latest after as many steps as an episode has; results returned in between are invalid.

    ``reset(options={"first_step": t})`` begins episodes late, at step t: nothing queued, the sessions of the step
    before at home.

    Autoreset as in `GridAIVectorEnv`: ``infos["final_obs"]`` (all rows; those of ``_final_obs`` are meant) and
    ``infos["final_info"]``.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  Gymnasium's type

    _mask_kinds = "a NumPy array or a tensor"
    _books = (*BatchEnv._books, "_wrong", "_part", "_since_check")

    @keywords_of(TorchVectorOptions)
    def __init__(self, options: TorchVectorOptions) -> None:
        """Open the scenario; raises ValueError (ScenarioError, InstanceError, ...) where that fails."""
        self.device, self.dtype = checked_device(options.device), checked_dtype(options.dtype)
        super().__init__(options)
        self.stagger = options.stagger

        # A processor runs a step as a kernel of its own, but for gradients; a device has torch's compiler.
        on_cpu = self.device.type == "cpu"
        self._kernels = options.compile is True and on_cpu
        self.compiles = bool(options.compile) and not self._kernels
        if self.compiles:
            _check_compilable(self.num_envs, self.compiled)
        if options.graphs and (on_cpu or not self.compiles):
            raise ValueError(
                "graphs=True: needs a compiled step and a CUDA device, got "
                f"compile={options.compile}, device={str(self.device)!r}"
            )
        self._wrap = partial(Traced, graphs=options.graphs) if self.compiles else None

        # Episodes are supplied for groups, and placed in all their environments.
        self._host = episode_supply.HostEpisodeSupply(self._source, self.num_groups, self.device, self.dtype)
        self.episodes = episode_supply.kind_of_episodes(options.episodes, self._source)
        wild = {"spikes": options.spikes, "shortages": options.shortages}
        for name, share in wild.items() if self.episodes == "host" else ():
            if share:
                raise ValueError(
                    f"{name} = {share:g}: episodes made on the host have none (those of files are); must be 0"
                )
        self._supply: episode_supply.EpisodeSupply = self._host
        if self.episodes == "device":
            generator = TorchEpisodeGenerator(
                self.compiled, self.device, self.dtype, spikes=options.spikes, shortages=options.shortages
            )
            self._supply = episode_supply.TorchEpisodeSupply(generator, self.num_groups)

        self._copy = options.copy
        self._make(self.compiled)
        self._totals: Tensor
        self._part: Bools  # whose episode began midway

    def _make(self, compiled: Compiled) -> None:
        """Make simulator and observer for episodes of a scenario (the own, or one that given instances belong to)."""
        if self.layout.compiled.hash != compiled.hash:
            self.layout = ObservationLayout(compiled)
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        self._simulator = make_room(self.layout, self.num_envs, like, self._kernels, self._wrap)
        self._observer = Observer(self._simulator, self._copy, self._wrap)

    # Reset ---------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Start all episodes, or those of ``options["reset_mask"]`` (bool [B], NumPy or tensor)."""
        options = checked_options(options, ("instances", "reset_mask", "start", "first_step"))
        rows = self._rows(options.get("reset_mask"))
        seeds = self._seeds(seed)
        super().reset(seed=None if seeds is None else seeds[0])

        if self._begun:
            self._check_wrong()
        batches: Iterable[episode_supply.Supplied]
        if "instances" in options:
            batches = [self._given(self._groups(rows), options["instances"])]
            if seeds:
                self._supply.seed(self._groups(rows), seeds)
        else:
            batches = self._next_episodes(self._groups(rows), seeds, options.get("start"))

        # Spread over the horizon, episodes do not all end (and are not all made) in one step.
        everyone = len(rows) == self.num_envs
        t = np.zeros(self.num_envs, dtype=np.intp)
        if self.stagger and everyone and "instances" not in options:
            count = min(self.num_groups, self._longest, FIRST_STEPS)
            t = np.arange(self.num_groups) * count // self.num_groups * self._longest // count
            t = np.repeat(t, self.group)
        if "first_step" in options:
            t[rows] = checked_step(options["first_step"], self.layout.compiled.shape.steps)

        self._begin(rows, batches, t)
        infos = self._infos(torch.zeros_like(self._totals), self._upload(self._mask(rows)))
        return self._shown(self._observer.observe()), infos

    def _rows(self, mask: Any) -> Index:
        """Return the environments to reset; the mask may be a tensor."""
        return super()._rows(mask.cpu().numpy() if isinstance(mask, Tensor) else mask)

    def _seeds(self, seed: Any) -> list[int | None] | None:
        """Return a seed for each environment, or None."""
        if seed is None:
            return None

        if self.episodes == "host":
            return seed_list(seed, self.num_groups)
        if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str):
            raise ValueError(
                f"seed: a list of {len(seed)}, but episodes made on the device come from one generator; "
                "give one integer, or use episodes='host'"
            )
        return [plain_seed(seed)]

    def _next_episodes(
        self, groups: Index, seeds: list[int | None] | None = None, start: Any = None
    ) -> Iterator[episode_supply.Supplied]:
        """Return the next episodes of the environments' own."""
        if self.layout.compiled.hash != self.compiled.hash:
            if len(groups) < self.num_groups:
                raise self._foreign()
            self._make(self.compiled)
        starts = self._source.starts(groups, start)
        return self._supply.next_episodes(groups, seeds, self._simulator.prepare, starts)

    def _given(self, groups: Index, instances: Any) -> episode_supply.Supplied:
        """Return the episodes given in the options."""
        self._check_given(instances, len(groups))
        batch, episodes = self._host.given(groups, instances)
        self._fit(batch, episodes.compiled)
        return batch, self._simulator.prepare(episodes)

    @property
    def _longest(self) -> int:
        """Most steps of an episode."""
        steps = self.layout.compiled.shape.steps
        return steps if self.max_episode_steps is None else min(steps, self.max_episode_steps)

    def _begin(self, rows: Index, batches: Iterable[episode_supply.Supplied], t: Index) -> None:
        """Put new episodes at the places ``rows``, at steps ``t`` [num_envs]."""
        if not self._begun:
            self._set_out()
        for batch, episodes in batches:
            self._place(batch, episodes, batch.rows, t)

        self._totals = self._totals.detach() * self._upload(~self._mask(rows))
        self._elapsed, self._over, self._part = self._elapsed.copy(), self._over.copy(), self._part.copy()
        self._elapsed[rows], self._over[rows], self._part[rows] = t[rows], False, t[rows] > 0
        self._upload_books()

    def _upload_books(self) -> None:
        """Put what every ``infos`` shows of the episodes on the device, where it stays until one begins."""
        seeds = np.full(self.num_groups, -1, dtype=np.int64)
        for batch in self._batches:
            if batch.seeds is not None:
                played = batch.rows >= 0
                seeds[batch.rows[played]] = batch.seeds[played]
        seeds = np.repeat(seeds, self.group)
        self._shown_seeds, self._seeded = self._upload(seeds), self._upload(seeds >= 0)
        self._whole = self._upload(~self._part)

    def _set_out(self) -> None:
        """Start the totals of environments that have not begun."""
        b = self.num_envs
        self._totals = torch.zeros((len(KEYS), b), dtype=self.dtype, device=self.device)
        self._wrong = torch.zeros(b, dtype=torch.bool, device=self.device)
        self._elapsed, self._since_check = np.zeros(b, dtype=np.intp), 0
        self._over, self._part = np.zeros(b, dtype=np.bool_), np.zeros(b, dtype=np.bool_)
        self._batches: list[episode_supply.EpisodeBatch] = []
        self._begun = True

    def _fit(self, batch: episode_supply.EpisodeBatch, compiled: Compiled) -> None:
        """Make simulator and observer anew where given instances are of another scenario."""
        if compiled.hash == self.layout.compiled.hash:
            return
        if len(batch.rows) < self.num_groups:
            raise ValueError(
                "options['instances']: belong to another scenario than the episodes that go on beside them; reset "
                "all environments with such instances"
            )
        self._make(compiled)

    def _place(self, batch: episode_supply.EpisodeBatch, episodes: Prepared, groups: Index, t: Index) -> None:
        """Begin episodes in groups, at steps ``t`` [num_envs], and remember whence they came."""
        rows = self._members(groups)
        if self.group > 1:
            episodes = episodes.take(np.repeat(np.arange(len(groups)), self.group))
        self._simulator.begin(rows, episodes, t[rows])
        left = [older.without(groups) for older in self._batches]
        self._batches = [older for older in left if older is not None] + [batch]

    # Step ----------------------------------------------------------------------------------------

    def step(self, actions: Tensor | AnyFloats) -> tuple[Any, Tensor, Tensor, Tensor, Info]:
        """Advance all episodes; raises ValueError for a wrong action, ResetNeeded where one is over."""
        simulator = self._ready()
        checked = checked_actions(actions, (self.num_envs, simulator.layout.size), self.device, self.dtype)
        figures, wrong = simulator.step_figures(checked)
        self._wrong = self._wrong | wrong
        self._totals = add_step(self._totals, figures.detach())
        self._elapsed = self._elapsed + 1
        self._since_check += 1

        rewards = figures[0] / self.layout.compiled.reward_scale_usd
        terminated = simulator.t >= simulator.steps
        truncated = self._truncated()
        self._over = terminated | truncated

        ended, cut = self._upload(terminated), self._upload(truncated)
        observation, is_over = self._observer.observe(), self._over.any()
        # Checking actions synchronises with the device: done seldom, and where episodes end anyway.
        if is_over and (self._since_check >= self._longest or self._over.all()):
            self._check_wrong()
        if is_over and self.autoreset_mode is AutoresetMode.SAME_STEP:
            observation, infos = self._restart(observation, figures)
        else:
            infos = self._infos(figures, self._everyone())
        return self._shown(observation), rewards, ended, cut, infos

    def _restart(self, observation: Tensor, figures: Tensor) -> tuple[Tensor, Info]:
        """Begin new episodes where one is over; keep what the old ones ended with in the infos."""
        rows, over = np.flatnonzero(self._over), self._upload(self._over)
        final = self._infos(figures * over, over)
        if self._copy:
            ended, observation = observation, observation.clone()
        else:
            ended = self._observer.keep_last(observation, rows)

        t = np.zeros(self.num_envs, dtype=np.intp)
        self._begin(rows, self._next_episodes(self._groups(rows)), t)
        infos = self._infos(figures * ~over, self._everyone()) | {
            "final_obs": self._shown(ended),
            "_final_obs": over,
            "final_info": final,
            "_final_info": over,
        }

        if len(rows) == self.num_envs:
            return self._observer.observe(into=observation), infos
        self._observer.renew(observation, rows)
        return observation, infos

    def _everyone(self) -> Tensor:
        return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def _infos(self, figures: Tensor, rows: Tensor) -> Info:
        """Return figures [len(KEYS),B], totals and seeds, those of ``rows``, with their masks."""
        whole = rows & self._whole
        infos: Info = {"instance_seed": self._shown_seeds, "_instance_seed": rows & self._seeded}
        for keys, values, mask in ((KEYS, figures, rows), (EPISODE_KEYS, self._totals * whole, whole)):
            for key, value in zip(keys, values.unbind(0), strict=True):
                infos[key], infos["_" + key] = value, mask
        return infos

    def _check_wrong(self) -> None:
        """Raise ValueError where an action since the last check was not in [-1, 1]; this asks the device."""
        self._since_check = 0
        if not bool(self._wrong.any()):
            return

        rows = torch.nonzero(self._wrong).flatten().tolist()
        self._wrong = torch.zeros_like(self._wrong)
        self._begun = False  # what has been played is worthless
        shown = ", ".join(str(row) for row in rows[:8]) + (", ..." if len(rows) > 8 else "")
        raise ValueError(
            f"action: not a number in [-1, 1] for environments {shown} ({len(rows)} of {self.num_envs}) in one of "
            "the last steps; all that was returned since is worthless: clip the actions, look for NaN in the "
            "policy, and reset all environments"
        )

    def _upload(self, x: NDArray[Any]) -> Tensor:
        """Return a small host array on the device."""
        if x.dtype == np.bool_ and not x.any():
            return torch.zeros(x.shape, dtype=torch.bool, device=self.device)
        return moved(x.copy(), self.device)

    # States --------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return everything that `set_state` needs to continue bit for bit; can be pickled.

        Episodes are kept as seeds, given instances, or states of the device's generator: they are made again.
        """
        return {
            "group": self.group,
            "batches": list(self._batches),
            "simulator": self.simulator.get_state(),
            "supplies": (self._supply.get_state(), self._host.get_state()),
            "books": self._get_books(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to where `get_state` was called, in these or other environments of the same scenario."""
        self._check_group(state)
        self._set_out()
        where = state["simulator"]

        for batch in state["batches"]:
            supply: episode_supply.EpisodeSupply = self._supply if batch.kind == "drawn" else self._host
            given = batch.kind == "instances"
            self._fit(batch, batch.recipe[0].compiled if given else self.compiled)
            episodes = supply.rebuild(batch, self._simulator.prepare)
            # Episodes are written relative to the present row: restore it first.
            self._simulator.ring.row = where["row"]
            alive = np.flatnonzero(batch.rows >= 0)
            self._place(batch, episodes.take(alive), batch.rows[alive], where["t"])

        self._simulator.set_state(where)
        self._set_books(state["books"])
        self._totals, self._wrong = self._totals.to(self.device), self._wrong.to(self.device)
        self._upload_books()
        for supply, own in zip((self._supply, self._host), state["supplies"], strict=True):
            supply.set_state(own)


def _check_compilable(num_envs: int, compiled: Compiled) -> None:
    """Raise ValueError for a batch that the compiler's view cannot tell from the sites or regions."""
    shape = compiled.shape
    if num_envs > 1 and num_envs in (shape.sites, shape.regions):
        raise ValueError(
            f"num_envs = {num_envs}: with a step compiled by torch it must be neither the number of sites "
            f"({shape.sites}) nor of regions ({shape.regions}); take another, or compile=False"
        )
