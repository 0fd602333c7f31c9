"""Many episodes at once on one device: Gymnasium's vector interface, all of it tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from gridai_env.arrays.torch_ops import moved
from gridai_env.arrays.types import AnyFloats, Index
from gridai_env.envs.arguments import plain_seed
from gridai_env.envs.batch_env import BatchEnv, Info
from gridai_env.envs.episode_supply import EpisodeSupply
from gridai_env.envs.options import TorchVectorOptions, keywords_of
from gridai_env.envs.torch.arguments import checked_actions, checked_device, checked_dtype
from gridai_env.envs.torch.compiled_step import Traced
from gridai_env.envs.torch.episode_supply import TorchEpisodeSupply, kind_of_episodes
from gridai_env.envs.torch.generate import TorchEpisodeGenerator
from gridai_env.envs.torch.upload import uploaded
from gridai_env.scenario.compile import Compiled


class GridAITorchVectorEnv(BatchEnv):
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
    replays that as a CUDA graph besides (no gradients then).  Otherwise rewards carry gradients where the actions do,
    up to the end of an episode.

    Actions are tensors [B,A] on the device; NumPy arrays are checked at once and uploaded.  Tensors are not
    looked into while stepping: a value outside of [-1, 1] or NaN raises ValueError at a reset, or at the end of
    an episode, but at the latest after as many steps as an episode has; results returned in between are invalid.

    Autoreset as in `GridAIVectorEnv`: ``infos["final_obs"]`` (all rows; those of ``_final_obs`` are meant) and
    ``infos["final_info"]``.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  Gymnasium's type

    _mask_kinds = "a NumPy array or a tensor"
    _books = (*BatchEnv._books, "_wrong", "_since_check")

    @keywords_of(TorchVectorOptions)
    def __init__(self, options: TorchVectorOptions) -> None:
        """Open the scenario; raises ValueError (ScenarioError, InstanceError, ...) where that fails."""
        self.device, self.dtype = checked_device(options.device), checked_dtype(options.dtype)
        self.stagger = options.stagger

        # A processor runs a step as a kernel of its own, but for gradients; a device has torch's compiler.
        on_cpu = self.device.type == "cpu"
        kernels = options.compile is True and on_cpu
        self.compiles = bool(options.compile) and not kernels
        if options.graphs and (on_cpu or not self.compiles):
            raise ValueError(
                "graphs=True: needs a compiled step and a CUDA device, got "
                f"compile={options.compile}, device={str(self.device)!r}"
            )
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        there = partial(uploaded, device=self.device, dtype=self.dtype)
        wrap = partial(Traced, graphs=options.graphs) if self.compiles else None
        super().__init__(options, like, there, kernels, options.copy, wrap)
        if self.compiles:
            _check_compilable(self.num_envs, self.compiled)
        self._supply = self._supply_of(options)

    def _supply_of(self, options: TorchVectorOptions) -> EpisodeSupply:
        """Return what makes the episodes; raises ValueError for options that do not fit it."""
        self.episodes = kind_of_episodes(options.episodes, self._source)
        wild = {"spikes": options.spikes, "shortages": options.shortages}
        if self.episodes == "device":
            generator = TorchEpisodeGenerator(
                self.compiled, self.device, self.dtype, spikes=options.spikes, shortages=options.shortages
            )
            return TorchEpisodeSupply(generator, self.num_groups)
        for name, share in wild.items():
            if share:
                raise ValueError(
                    f"{name} = {share:g}: episodes made on the host have none (those of files are); must be 0"
                )
        return self._host

    # Kinds of arrays -----------------------------------------------------------------------------

    def _here(self, x: NDArray[Any]) -> Tensor:
        if x.dtype == np.bool_ and not x.any():
            return torch.zeros(x.shape, dtype=torch.bool, device=self.device)
        return moved(x.copy(), self.device)

    def _everyone(self) -> Tensor:
        return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def _checked(self, actions: Tensor | AnyFloats) -> Tensor:
        return checked_actions(actions, (self.num_envs, self._simulator.layout.size), self.device, self.dtype)

    def _last_seen(self, observation: Tensor, rows: Index) -> tuple[Any, Tensor]:
        if self._copy:
            return self._shown(observation), observation.clone()
        return self._shown(self._observer.keep_last(observation, rows)), observation

    def _rows(self, mask: Any) -> Index:
        return super()._rows(mask.cpu().numpy() if isinstance(mask, Tensor) else mask)

    def _seed_list(self, seed: Any) -> list[int | None] | None:
        if seed is None or self.episodes == "host":
            return super()._seed_list(seed)
        if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str):
            raise ValueError(
                f"seed: a list of {len(seed)}, but episodes made on the device come from one generator; "
                "give one integer, or use episodes='host'"
            )
        return [plain_seed(seed)]

    # Actions that nobody looked into -------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Start all episodes, or those of ``options["reset_mask"]`` (bool [B], NumPy or tensor)."""
        if self._begun:
            self._check_wrong()
        return super().reset(seed=seed, options=options)

    def _set_out(self) -> None:
        super()._set_out()
        self._wrong, self._since_check = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device), 0

    def _count(self, figures: Tensor, wrong: Tensor) -> None:
        super()._count(figures.detach(), wrong)
        self._wrong, self._since_check = self._wrong | wrong, self._since_check + 1

    def _at_ends(self) -> None:
        # Checking actions synchronises with the device: done seldom, and where episodes end anyway.
        if self._since_check >= self._longest or self._over.all():
            self._check_wrong()

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

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to where `get_state` was called, see `BatchEnv.set_state`; its tensors may lie on another device."""
        super().set_state(state)
        self._totals, self._wrong = self._totals.to(self.device), self._wrong.to(self.device)


def _check_compilable(num_envs: int, compiled: Compiled) -> None:
    """Raise ValueError for a batch that the compiler's view cannot tell from the sites or regions."""
    shape = compiled.shape
    if num_envs > 1 and num_envs in (shape.sites, shape.regions):
        raise ValueError(
            f"num_envs = {num_envs}: with a step compiled by torch it must be neither the number of sites "
            f"({shape.sites}) nor of regions ({shape.regions}); take another, or compile=False"
        )
