"""Supply of episodes that are made on a device, from one generator for the whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridai_env.arrays.types import Index
from gridai_env.envs.episode_source import EpisodeSource
from gridai_env.envs.episode_supply import MOST, EpisodeBatch, Supplied
from gridai_env.envs.prepared import Prepare, Prepared
from gridai_env.envs.torch.generate import TorchEpisodeGenerator
from gridai_env.episodes.starts import Starts

# Where a few episodes are wanted, at least so many and this share of all are made; those that are left over are kept
# for the next that are wanted.
LEAST, SHARE = 64, 1 / 8


@dataclass
class _Stock:
    """Episodes made in advance, of which the first ``used`` are handed out."""

    origin: Any  # state of the generator before they were made
    episodes: Prepared
    used: int = 0


class TorchEpisodeSupply:
    """Synthetic episodes made on the device: one generator for the whole batch."""

    def __init__(self, source: TorchEpisodeGenerator, num_envs: int) -> None:
        """Make episodes of ``source`` for ``num_envs`` environments."""
        self._source, self._generator = source, source.generator
        self._few = min(num_envs, MOST, max(LEAST, int(num_envs * SHARE)))
        self._stock: _Stock | None = None
        self._left: tuple[Any, int, int] | None = None  # a stock of a snapshot: origin, size, used

    def next_episodes(
        self, rows: Index, seeds: list[int | None] | None, prepare: Prepare, starts: Starts | None = None
    ) -> Iterator[Supplied]:
        """Return the next episodes of the environments ``rows``; ``seeds`` [num_envs] where some are given."""
        if starts is not None:
            raise ValueError(
                "options['start']: episodes made on the device draw their start; use episodes='host' for given ones"
            )
        if seeds:
            self.seed(rows, seeds)
        return self._drawn(rows, prepare)

    def _drawn(self, rows: Index, prepare: Prepare) -> Iterator[Supplied]:
        first = 0
        while first < len(rows):
            stock = self._filled(len(rows) - first, prepare)
            count = min(len(rows) - first, len(stock.episodes) - stock.used)

            at = np.arange(stock.used, stock.used + count)
            recipe = (stock.origin, len(stock.episodes), stock.used)
            yield EpisodeBatch(rows[first : first + count], "drawn", recipe), stock.episodes.take(at)
            stock.used += count
            first += count
            if stock.used == len(stock.episodes):
                self._stock = None  # its memory is free before more are made

    def seed(self, rows: Index, seeds: list[int | None]) -> None:
        """Start the one generator anew from the first seed."""
        if seeds[0] is not None:
            self._source.seed(seeds[0])
            self._stock = self._left = None

    def _filled(self, wanted: int, prepare: Prepare) -> _Stock:
        """Return a stock with unused episodes."""
        if self._left is not None:
            origin, size, used = self._left
            self._stock, self._left = _Stock(origin, self._made(origin, size, prepare), used), None
        if self._stock is None:
            origin = self._generator.get_state()
            size = min(MOST, max(wanted, self._few))
            self._stock = _Stock(origin, prepare(self._source.draw(size)))
        return self._stock

    def _made(self, origin: Any, size: int, prepare: Prepare) -> Prepared:
        """Return the episodes drawn from an earlier state of the generator, whose present state is kept."""
        now = self._generator.get_state()
        self._generator.set_state(origin)
        episodes = self._source.draw(size)
        self._generator.set_state(now)
        return prepare(episodes)

    def rebuild(self, batch: EpisodeBatch, prepare: Prepare) -> Prepared:
        """Return the episodes of an earlier batch."""
        origin, size, used = batch.recipe
        return self._made(origin, size, prepare).take(np.arange(used, used + len(batch.rows)))

    def get_state(self) -> Any:
        """Return the state of the generators."""
        left = self._left
        if self._stock is not None:
            left = (self._stock.origin, len(self._stock.episodes), self._stock.used)
        return self._generator.get_state(), left

    def set_state(self, state: Any) -> None:
        """Put back the generator and the unused episodes as `get_state` returned them."""
        now, self._left = state
        self._stock = None
        self._generator.set_state(now)


def kind_of_episodes(wanted: str | None, source: EpisodeSource) -> str:
    """Return "host" or "device", where episodes are made; None leaves the choice.

    Raises ValueError for another word, and where the device cannot make them.
    """
    compiled, reasons = source.compiled, []
    if source.fixed is not None:
        reasons.append("instance= is one frozen episode")
    if source.start is not None:
        reasons.append("their start is given")
    if compiled.traces != "synthetic":
        reasons.append(f"its traces are the file {compiled.traces!r}")
    if compiled.demand.source != "synthetic":
        reasons.append(f"its demand is the file {compiled.demand.source!r}")

    kind = wanted or ("host" if reasons else "device")
    if kind not in ("device", "host"):
        raise ValueError(f"episodes = {wanted!r}: must be one of ['device', 'host']")
    if kind == "device" and reasons:
        raise ValueError(
            f"episodes = 'device': only synthetic episodes are made on the device, but {' and '.join(reasons)}; "
            "use episodes='host'"
        )
    return kind
