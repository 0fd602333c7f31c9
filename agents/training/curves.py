"""Curves of a training: TensorBoard events, the same figures as progress.csv, and W&B where wanted."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import yaml
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat, filter_excluded_keys

from gridai_env.files import atomic_write

EVENTS, PROGRESS = "tensorboard", "progress.csv"
STEP, SECONDS = "time/total_timesteps", "time/seconds"


class ProgressFile(KVWriter):
    """The figures of a run as CSV, one row for each number of steps at which there are some.

    ``time/seconds`` is the time that the run has taken, without what was lost where it was stopped.
    """

    def __init__(self, path: Path, steps: int) -> None:
        """Keep the rows of a file that is there up to ``steps``, where the run goes on: later ones come again."""
        self._path, self._rows = path, dict[int, dict[str, Any]]()
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = {int(row[STEP]): row for row in csv.DictReader(file)}
            self._rows = {step: row for step, row in rows.items() if step <= steps}
        self._before_s = max((float(row.get(SECONDS) or 0) for row in self._rows.values()), default=0.0)
        self._begin_s = time.perf_counter()

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Add the figures of a step to its row."""
        columns = len(self._columns())
        is_new = step not in self._rows
        row = self._rows.setdefault(step, {STEP: step})
        row[SECONDS] = round(self._before_s + time.perf_counter() - self._begin_s, 1)
        row |= filter_excluded_keys(key_values, key_excluded, "csv")

        if is_new and len(self._columns()) == columns:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                self._writer(file).writerow(row)
            return
        with atomic_write(self._path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = self._writer(file)
            writer.writeheader()
            writer.writerows(self._rows.values())

    def _columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self._rows.values() for name in row))

    def _writer(self, file: Any) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self._columns(), restval="", lineterminator="\n")

    def close(self) -> None:
        """Do nothing: the file is whole after each row."""


# Figures that say the same all along, or how busy the machine is: in progress.csv alone.
UNSHOWN = ("rollout/ep_len_mean", "time/fps", "train/clip_range", "train/clip_range_vf")


class Board(TensorBoardOutputFormat):
    """The figures of a run as TensorBoard events, without those of ``UNSHOWN``."""

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Add the figures of a step."""
        unshown = {name: (EVENTS,) for name in UNSHOWN if name in key_values}
        super().write(key_values, key_excluded | unshown, step)


# The charts under "Custom scalars": what a training is judged by, what it earns while it explores, how it learns.
LAYOUT = {
    "1 held-out episodes": {
        name: ["Multiline", [f"eval/{name}"]]
        for name in ("gain_captured", "over_local_usd", "bill_usd", "emissions_kg", "served_share")
    },
    "2 training episodes": {
        name: ["Multiline", [f"rollout/{name}"]] for name in ("ep_rew_mean", "benefit_usd", "dropped_gpuh")
    },
    "3 learning": {
        name: ["Multiline", [f"train/{name}"]]
        for name in ("explained_variance", "approx_kl", "loss", "entropy_loss")
    },
}


@contextmanager
def curves(
    model: BaseAlgorithm, settings: dict[str, Any], folder: Path, wandb: dict[str, str] | None = None
) -> Iterator[None]:
    """Let a model write its curves below a folder while the block runs.

    ``wandb``: project and id of a run of Weights & Biases that gets them, too.
    """
    with nullcontext() if wandb is None else _wandb(settings, folder, wandb):
        board, progress = Board(str(folder / EVENTS)), ProgressFile(folder / PROGRESS, model.num_timesteps)
        board.writer.add_custom_scalars(LAYOUT)
        text = yaml.safe_dump(settings, sort_keys=False)
        board.writer.add_text("settings", "    " + text.replace("\n", "\n    "))
        model.set_logger(Logger(str(folder / EVENTS), [board, progress]))

        try:
            yield
        except BaseException:
            with suppress(OSError):  # what went wrong is being told already
                model.logger.close()
            raise
        model.logger.close()


def _wandb(settings: dict[str, Any], folder: Path, run: dict[str, str]) -> Any:
    """Return an open run of W&B that copies what is written to TensorBoard; one that goes on keeps its id."""
    import wandb

    return wandb.init(
        project=run["project"],
        id=run["id"],
        name=folder.name,
        dir=str(folder),
        config=settings,
        sync_tensorboard=True,
        resume="allow",
    )
